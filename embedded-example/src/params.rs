//! The parameters in `params/`.
//!
//! The [`Config`] struct declares the parameters, and its fields become files and directories. To
//! add a parameter, add a field to one of the structs and use the value, for example in
//! [`settings`]. An additional parameter costs at most 64 bytes of flash plus the length of its
//! strings, and the first parameter of a new type about 1 KiB more.

use core::fmt::{self, Write};

use datakit_core::files::{Fixed, Help, Params, ParamsDir};
use datakit_core::params::{
    ChangeMemory, Changes, Ctl, Modified, ObserverEntry, ParamSet, Replies, Schema,
    TransactionMemory, Transactions, observe, unnamed,
};
use datakit_core::vfs::{Client, file, table};

use crate::saving::{REQUESTS, SAVE_RATE_FILE};
use crate::simulation::{LENGTH_MAX, Settings, Waveform};
use crate::state::{CLIENTS, CONNECTIONS};

/// The `params/` directory.
pub static PARAMS: ParamsDir<ConfigParams> = ParamsDir::new(
    &[
        file("help", &Help::new(&PARAMS)),
        file("schema", &Schema::new(&SET)),
        file("schema-id", &Schema::id(&SET)),
        file("changes", &CHANGES),
        file("modified", &Modified::new(&SET)),
        file("ctl", &Ctl::new(&SET, &REPLIES)),
        file("save-rate", &SAVE_RATE_FILE),
        // A path such as `probes/0/scale` needs three levels, and the transaction names `0` and `1`
        // need one.
        table("transactions", &TRANSACTIONS, 4),
    ],
    &CONFIG,
);

/// All parameters.
pub static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(name_client).store(&REQUESTS);

static CHANGE_MEMORY: ChangeMemory<16> = ChangeMemory::new();
static CHANGES: Changes<16> = Changes::new(&SET, &CHANGE_MEMORY);
/// There is one entry for each client and one for the program.
static REPLIES: Replies<{ CLIENTS + 1 }> = Replies::new();

static TRANSACTION_MEMORY: TransactionMemory<2, 24, 24> = TransactionMemory::new();
/// Two transactions, each with room for the values of all parameters, so that a client can import an
/// exported file as a whole. A value has at most 24 bytes.
static TRANSACTIONS: Transactions<2, 24, 24> = Transactions::new(&SET, &TRANSACTION_MEMORY);

/// Starts recording parameter changes and refused requests.
pub fn start() {
    static CHANGES_OBSERVER: ObserverEntry = ObserverEntry::new(&CHANGES);
    static REPLIES_OBSERVER: ObserverEntry = ObserverEntry::new(&REPLIES);
    static TRANSACTIONS_OBSERVER: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
    observe(&CHANGES_OBSERVER);
    observe(&REPLIES_OBSERVER);
    observe(&TRANSACTIONS_OBSERVER);
}

/// Writes a client's address.
fn name_client(client: Client, out: &mut dyn Write) -> fmt::Result {
    let mut clients = (0..CLIENTS).filter_map(|index| CONNECTIONS.get(index));
    match clients.find(|connection| connection.client == client) {
        Some(connection) => write!(out, "{}", connection.peer),
        None => unnamed(client, out),
    }
}

/// Writes the path of the parameter with this ordinal.
pub fn write_path(ordinal: u16, out: &mut dyn Write) -> fmt::Result {
    let mut result = Ok(());
    SET.with_parameter(ordinal, |path, _| result = write!(out, "{path}"));
    result
}

/// The values of all parameters.
pub static CONFIG: ConfigParams = ConfigParams::new();

/// The settings that clients can change.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Config {
    /// The light.
    pub blink: Blink,
    /// The sensor.
    pub wave: Wave,
    /// The limits for the samples. A sample that crosses a limit causes an event.
    pub limits: Limits,
    /// The network.
    pub net: Net,
    /// The probes, which convert the sensor's samples.
    pub probes: [Probe; PROBES],
}

/// The number of probes.
pub const PROBES: usize = 4;

/// The light's settings.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Blink {
    /// whether the light blinks; sampling continues
    #[param(default = true)]
    pub enabled: bool,
    /// from one flash to the next
    #[param(default = 1000, range = 10..=60_000, unit = "ms")]
    pub period: u32,
    /// how much of the period the light is on
    #[param(default = 50, range = 1..=99, unit = "%")]
    pub duty: u32,
}

/// The sensor's settings.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Wave {
    /// shape of the signal
    #[param(default = Waveform::Triangle)]
    pub shape: Waveform,
    /// length of a cycle
    #[param(default = 20, range = 2..=LENGTH_MAX, unit = "samples")]
    pub length: u32,
    /// from the middle to the peak
    #[param(default = 100, range = 0..=1_000_000)]
    pub amplitude: i32,
    /// middle of the signal
    #[param(range = -1_000_000..=1_000_000)]
    pub offset: i32,
    /// a sample has the weight 1 / 2^smoothing
    #[param(range = 0..=8)]
    pub smoothing: u32,
}

/// The limits for the samples. A sample that crosses a limit causes an event.
#[derive(Debug, Clone, PartialEq, Params)]
#[params(check = in_order)]
pub struct Limits {
    /// samples at or above it are events
    #[param(default = 90)]
    pub high: i32,
    /// samples at or below it are events
    #[param(default = -90)]
    pub low: i32,
}

fn in_order(limits: &Limits) -> Result<(), &'static str> {
    if limits.low < limits.high { Ok(()) } else { Err("limits/low must be below limits/high") }
}

/// The network settings.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Net {
    /// idle and vanished clients are disconnected after this time; for new connections
    #[param(default = 60, range = 3..=3600, unit = "s")]
    pub idle: u32,
    /// coalesce small segments; for new connections
    pub nagle: bool,
}

/// A probe's settings.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Probe {
    /// factor by which the probe multiplies a sample
    #[param(default = 1, range = -100..=100)]
    pub scale: Fixed<2>,
    /// number that the probe adds afterwards
    #[param(range = -1_000_000..=1_000_000)]
    pub offset: i32,
}

impl Probe {
    /// Converts a sensor sample. A result outside the range of the type is clamped to that range.
    #[must_use]
    pub fn convert(&self, sample: i32) -> Fixed<2> {
        let scaled = i64::from(sample) * i64::from(self.scale.0) + i64::from(self.offset) * 100;
        Fixed(scaled.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
    }
}

/// Returns the settings for the next step.
pub fn settings() -> Settings {
    let Config { blink, wave, limits, .. } = CONFIG.load();
    Settings {
        enabled: blink.enabled,
        period_ms: blink.period,
        duty: blink.duty,
        waveform: wave.shape,
        length: wave.length,
        amplitude: wave.amplitude,
        offset: wave.offset,
        smoothing: wave.smoothing,
        high: limits.high,
        low: limits.low,
    }
}

/// Returns the number of seconds after which an idle connection is closed.
pub fn idle_seconds() -> u32 {
    CONFIG.net.idle.get()
}

/// Returns whether Nagle's algorithm is enabled.
pub fn nagle() -> bool {
    CONFIG.net.nagle.get()
}

/// Waits until a client sets a parameter that affects the time of the next step. The future can be
/// dropped at any time.
pub async fn timing_changed() {
    CONFIG.blink.changed(CONFIG.blink.version()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_different_hashes() {
        assert_eq!(datakit_persist::check_keys(&SET), Ok(()));
    }
}
