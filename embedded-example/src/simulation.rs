//! Simulates a blinking light and a sensor that is sampled at each step. The parameters control the
//! simulation.
//!
//! The simulation only computes values and does not access the hardware. The board decides when
//! each step happens.

use datakit_core::files::Choice;

/// The shape of the sensor signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Choice)]
pub enum Waveform {
    /// The signal is low for half a cycle, then high.
    Square,
    /// The signal rises and falls linearly.
    #[default]
    Triangle,
    /// The signal rises linearly, then drops abruptly.
    Saw,
}

/// The maximum number of samples in a cycle.
pub const LENGTH_MAX: u32 = 10_000;

/// The settings for one step of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether the light blinks.
    pub enabled: bool,
    /// The number of milliseconds from one flash of the light to the next.
    pub period_ms: u32,
    /// The percentage of each period for which the light is on.
    pub duty: u32,
    /// The shape of the signal.
    pub waveform: Waveform,
    /// The number of samples in a signal cycle.
    pub length: u32,
    /// The distance from the middle of the signal to its peak.
    pub amplitude: i32,
    /// The value at the middle of the signal.
    pub offset: i32,
    /// The smoothing exponent. A new sample has a weight of 1 / 2^smoothing.
    pub smoothing: u32,
    /// The upper limit. Smoothed values at or above this limit are in [`Zone::High`].
    pub high: i32,
    /// The lower limit. Smoothed values at or below this limit are in [`Zone::Low`].
    pub low: i32,
}

/// The zone that a smoothed value is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The value is at or below the lower limit.
    Low,
    /// The value is between the limits.
    Normal,
    /// The value is at or above the upper limit.
    High,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepOutcome {
    /// The number of steps since boot.
    pub number: u32,
    /// Whether the light is on.
    pub lit: bool,
    /// The smoothed sample.
    pub sample: i32,
    /// The new zone, if the sample moved to a different zone in this step.
    pub entered: Option<Zone>,
    /// The number of milliseconds until the next step is due.
    pub wait_ms: u32,
}

/// The state of the light and the sensor.
#[derive(Debug)]
pub struct Simulation {
    number: u32,
    lit: bool,
    sample: i32,
    zone: Zone,
}

impl Simulation {
    /// Creates a simulation with the light off and a sample of 0.
    pub const fn new() -> Simulation {
        Simulation { number: 0, lit: false, sample: 0, zone: Zone::Normal }
    }

    /// Toggles the light, or turns it off if blinking is disabled, and takes a sample.
    pub fn step(&mut self, settings: &Settings) -> StepOutcome {
        self.number = self.number.wrapping_add(1);
        self.lit = settings.enabled && !self.lit;
        self.smooth(raw(settings, self.number), settings.smoothing);
        let zone = self.zone_by(settings);
        let entered = (zone != self.zone).then_some(zone);
        self.zone = zone;
        let wait_ms = wait_ms(settings, self.lit);
        StepOutcome { number: self.number, lit: self.lit, sample: self.sample, entered, wait_ms }
    }

    fn smooth(&mut self, raw: i32, smoothing: u32) {
        let difference = i64::from(raw) - i64::from(self.sample);
        // The change is rounded away from zero so that small differences do not persist.
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

impl Default for Simulation {
    fn default() -> Simulation {
        Simulation::new()
    }
}

/// Returns the signal's value in step `number`, before smoothing.
fn raw(settings: &Settings, number: u32) -> i32 {
    // These bounds, which also apply to `params/wave/length`, prevent overflow in the following
    // calculations.
    let length = i64::from(settings.length.clamp(2, LENGTH_MAX));
    let at = i64::from(number) % length;
    let peak = i64::from(settings.amplitude);
    let value = match settings.waveform {
        Waveform::Square if at * 2 < length => -peak,
        Waveform::Square => peak,
        Waveform::Triangle => {
            peak - (4 * peak * (at - length / 2).abs() / length).min(2 * peak.abs())
        }
        Waveform::Saw => 2 * peak * at / (length - 1) - peak,
    };
    i32::try_from(value + i64::from(settings.offset)).unwrap_or(settings.offset)
}

/// Returns the number of milliseconds until the next step.
fn wait_ms(settings: &Settings, lit: bool) -> u32 {
    let on = u64::from(settings.period_ms) * u64::from(settings.duty.min(100)) / 100;
    let on = u32::try_from(on).unwrap_or(settings.period_ms);
    // The wait is at least 1 ms, to leave time for other tasks.
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
        waveform: Waveform::Saw,
        length: 5,
        amplitude: 10,
        offset: 100,
        smoothing: 0,
        high: 110,
        low: 90,
    };

    #[test]
    fn light_is_on_for_its_share_of_the_period() {
        let mut simulation = Simulation::new();
        let steps =
            [(); 3].map(|()| simulation.step(&SETTINGS)).map(|step| (step.lit, step.wait_ms));
        assert_eq!(steps, [(true, 200), (false, 800), (true, 200)]);
    }

    #[test]
    fn disabled_light_goes_out_and_sampling_continues() {
        let mut simulation = Simulation::new();
        simulation.step(&SETTINGS);
        let step = simulation.step(&Settings { enabled: false, ..SETTINGS });
        assert_eq!((step.lit, step.wait_ms, step.number), (false, 1000, 2));
    }

    #[test]
    fn crossing_a_limit_is_reported_once() {
        let mut simulation = Simulation::new();
        let steps =
            [(); 6].map(|()| simulation.step(&SETTINGS)).map(|step| (step.sample, step.entered));
        let (high, low, normal) = (Some(Zone::High), Some(Zone::Low), Some(Zone::Normal));
        assert_eq!(
            steps,
            [(95, None), (100, None), (105, None), (110, high), (90, low), (95, normal)]
        );
    }

    #[test]
    fn smoothed_value_reaches_its_target() {
        let mut simulation = Simulation::new();
        let settings = Settings { amplitude: 0, smoothing: 3, ..SETTINGS };
        for _ in 0..100 {
            simulation.step(&settings);
        }
        assert_eq!(simulation.sample, 100);
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        for waveform in [Waveform::Square, Waveform::Triangle, Waveform::Saw] {
            for limit in [i32::MIN, i32::MAX] {
                let settings = Settings {
                    waveform,
                    amplitude: limit,
                    offset: limit,
                    length: u32::MAX,
                    period_ms: u32::MAX,
                    ..SETTINGS
                };
                let mut simulation = Simulation::new();
                for _ in 0..10 {
                    simulation.step(&settings);
                }
            }
        }
    }
}
