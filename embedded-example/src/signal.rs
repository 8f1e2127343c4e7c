//! What the parameters drive: a light that blinks, and a made-up sensor that is sampled at each
//! blink.
//!
//! Plain numbers in, plain numbers out; when the steps happen is the board's business.

/// The shape of the sensor's signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wave {
    /// Low for half of the cycle, then high.
    Square,
    /// Up and down again in straight lines.
    Triangle,
    /// Up in a straight line, then down at once.
    Saw,
}

/// Samples in one cycle at most.
pub const LENGTH_MAX: u32 = 10_000;

/// What one step goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether the light blinks at all.
    pub enabled: bool,
    /// From one lighting to the next, milliseconds.
    pub period_ms: u32,
    /// How much of the period the light is on, percent.
    pub duty: u32,
    /// The signal's shape.
    pub wave: Wave,
    /// Samples in one cycle of the signal.
    pub length: u32,
    /// From the middle of the signal to its peak.
    pub amplitude: i32,
    /// The middle of the signal.
    pub offset: i32,
    /// Each sample moves the smoothed value by one part in two to this power of the difference.
    pub smoothing: u32,
    /// A smoothed value from here on is an alarm.
    pub high: i32,
    /// A smoothed value up to here is an alarm.
    pub low: i32,
}

/// Where the smoothed value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// At or below the lower limit.
    Low,
    /// Between the limits.
    Normal,
    /// At or above the upper limit.
    High,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Steps since boot.
    pub number: u32,
    /// Whether the light is on now.
    pub lit: bool,
    /// The smoothed sample.
    pub sample: i32,
    /// The zone, when this step entered it.
    pub entered: Option<Zone>,
    /// Milliseconds until the next step is due.
    pub wait_ms: u32,
}

/// The light and the sensor.
#[derive(Debug)]
pub struct Signal {
    number: u32,
    lit: bool,
    sample: i32,
    zone: Zone,
}

impl Signal {
    /// Dark and silent.
    pub const fn new() -> Signal {
        Signal { number: 0, lit: false, sample: 0, zone: Zone::Normal }
    }

    /// Turns the light and takes a sample.
    pub fn step(&mut self, settings: &Settings) -> Step {
        self.number = self.number.wrapping_add(1);
        self.lit = settings.enabled && !self.lit;
        self.smooth(raw(settings, self.number), settings.smoothing);
        let zone = self.zone_by(settings);
        let entered = (zone != self.zone).then_some(zone);
        self.zone = zone;
        let wait_ms = wait_ms(settings, self.lit);
        Step { number: self.number, lit: self.lit, sample: self.sample, entered, wait_ms }
    }

    fn smooth(&mut self, raw: i32, smoothing: u32) {
        let difference = i64::from(raw) - i64::from(self.sample);
        // Rounded away from zero: a small difference must not stay for ever.
        let part = 1i64 << smoothing.min(31);
        let change = (difference + difference.signum() * (part - 1)) / part;
        self.sample = i32::try_from(i64::from(self.sample) + change).unwrap_or(raw);
    }

    fn zone_by(&self, settings: &Settings) -> Zone {
        if self.sample >= settings.high {
            Zone::High
        } else if self.sample <= settings.low {
            Zone::Low
        } else {
            Zone::Normal
        }
    }
}

impl Default for Signal {
    fn default() -> Signal {
        Signal::new()
    }
}

/// The signal at a step, before smoothing.
fn raw(settings: &Settings, number: u32) -> i32 {
    // The bounds of `params/wave/length`, within which nothing below overflows.
    let length = i64::from(settings.length.clamp(2, LENGTH_MAX));
    let at = i64::from(number) % length;
    let peak = i64::from(settings.amplitude);
    let value = match settings.wave {
        Wave::Square if at * 2 < length => -peak,
        Wave::Square => peak,
        Wave::Triangle => peak - (4 * peak * (at - length / 2).abs() / length).min(2 * peak.abs()),
        Wave::Saw => 2 * peak * at / (length - 1) - peak,
    };
    i32::try_from(value + i64::from(settings.offset)).unwrap_or(settings.offset)
}

/// How long the light stays as it is.
fn wait_ms(settings: &Settings, lit: bool) -> u32 {
    let on = u64::from(settings.period_ms) * u64::from(settings.duty.min(100)) / 100;
    let on = u32::try_from(on).unwrap_or(settings.period_ms);
    // Never 0: the board does other things, too.
    match (settings.enabled, lit) {
        (false, _) => settings.period_ms,
        (true, true) => on,
        (true, false) => settings.period_ms.saturating_sub(on),
    }
    .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        enabled: true,
        period_ms: 1000,
        duty: 20,
        wave: Wave::Saw,
        length: 5,
        amplitude: 10,
        offset: 100,
        smoothing: 0,
        high: 110,
        low: 90,
    };

    #[test]
    fn the_light_is_on_for_its_part_of_the_period() {
        let mut signal = Signal::new();
        let steps = [(); 3].map(|()| signal.step(&SETTINGS)).map(|step| (step.lit, step.wait_ms));
        assert_eq!(steps, [(true, 200), (false, 800), (true, 200)]);
    }

    #[test]
    fn a_light_that_is_disabled_goes_out_and_samples_go_on() {
        let mut signal = Signal::new();
        signal.step(&SETTINGS);
        let step = signal.step(&Settings { enabled: false, ..SETTINGS });
        assert_eq!((step.lit, step.wait_ms, step.number), (false, 1000, 2));
    }

    #[test]
    fn a_limit_is_told_once_when_it_is_crossed() {
        let mut signal = Signal::new();
        let steps =
            [(); 6].map(|()| signal.step(&SETTINGS)).map(|step| (step.sample, step.entered));
        let (high, low, normal) = (Some(Zone::High), Some(Zone::Low), Some(Zone::Normal));
        assert_eq!(
            steps,
            [(95, None), (100, None), (105, None), (110, high), (90, low), (95, normal)]
        );
    }

    #[test]
    fn smoothing_arrives() {
        let mut signal = Signal::new();
        let settings = Settings { amplitude: 0, smoothing: 3, ..SETTINGS };
        for _ in 0..100 {
            signal.step(&settings);
        }
        assert_eq!(signal.sample, 100);
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        for wave in [Wave::Square, Wave::Triangle, Wave::Saw] {
            for limit in [i32::MIN, i32::MAX] {
                let settings = Settings {
                    wave,
                    amplitude: limit,
                    offset: limit,
                    length: u32::MAX,
                    period_ms: u32::MAX,
                    ..SETTINGS
                };
                let mut signal = Signal::new();
                for _ in 0..10 {
                    signal.step(&settings);
                }
            }
        }
    }
}
