//! The `i2c/` directory, which represents a simulated temperature sensor on an I2C bus.
//!
//! A bus transfer takes [`TRANSFER_MS`] milliseconds, so the files pass their requests to
//! [`serve_sensor`], which runs as a task. The sensor has the registers of an LM75. A register
//! holds a temperature in steps of half a degree, and the files show it in thousandths of a degree.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use datakit_core::files::{FileRequest, FileRequests, Operation};
use datakit_core::vfs::{Dir, Error, Result, async_file, dir};
use datakit_core::{Decimal, Plain};

/// The duration of a bus transfer, in milliseconds.
pub const TRANSFER_MS: u32 = 20;

/// The maximum number of requests to the sensor. Each of the three clients can always make at least
/// one request.
const CAPACITY: usize = 4;

/// The size, in bytes, of the longest value, including its newline.
const TEXT: usize = 12;

/// The range of a limit, in thousandths of a degree.
const LOWEST: i32 = -55_000;
const HIGHEST: i32 = 125_000;
const STEP: i32 = 500;

/// The requests to the sensor.
pub static SENSOR: FileRequests<CAPACITY, TEXT> = FileRequests::new().reserve(2);

/// The `i2c/` directory.
pub static I2C: Dir = Dir::new(&[dir("0x48", &REGISTERS)]);

static REGISTERS: Dir = Dir::new(&[
    async_file("temperature", &SENSOR.file(0).read_only().doc("temperature in mdegC")),
    async_file("low", &SENSOR.file(2).doc("end of the alarm in mdegC")),
    async_file("high", &SENSOR.file(3).doc("start of the alarm in mdegC")),
]);

/// Processes the requests to the sensor, one after another. `delay` waits for the given number of
/// milliseconds.
pub async fn serve_sensor(delay: impl AsyncFn(u32)) -> ! {
    // The temperature, the configuration, and the two limits, with an LM75's reset values.
    let mut registers = [43, 0, 150, 160];
    loop {
        let request = SENSOR.next().await;
        let register = registers.get_mut(usize::from(request.file()));
        match (request.operation(), register) {
            (_, None) => request.finish(Err(Error::NotFound)),
            (Operation::Read, Some(register)) => {
                delay(TRANSFER_MS).await;
                request
                    .reply(|out| writeln!(out, "{}", Decimal::from(i32::from(*register) * STEP)));
            }
            (Operation::Write(text), Some(register)) => {
                let result = match parse(text) {
                    // If the request is cancelled, the transfer stops, and the register keeps its
                    // value.
                    Ok(value) if completes(&request, delay(TRANSFER_MS)).await => {
                        *register = value;
                        Ok(())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                };
                request.finish(result);
            }
        }
    }
}

/// Waits for `transfer` and returns `true`, or returns `false` as soon as the request is cancelled.
async fn completes(
    request: &FileRequest<'_, CAPACITY, TEXT>,
    transfer: impl Future<Output = ()>,
) -> bool {
    let (mut transfer, mut cancelled) = (pin!(transfer), pin!(request.cancelled()));
    poll_fn(|cx| {
        if cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        transfer.as_mut().poll(cx).map(|()| true)
    })
    .await
}

/// Parses a limit and returns the register value.
fn parse(text: &str) -> Result<i16> {
    let value: Option<i32> = text.parse().ok();
    let value = value.filter(|value| (LOWEST..=HIGHEST).contains(value) && value % STEP == 0);
    value.and_then(|value| i16::try_from(value / STEP).ok()).ok_or_else(|| {
        let [step, lowest, highest] = [STEP, LOWEST, HIGHEST].map(Decimal::from);
        let text = Plain(text);
        Error::Invalid.with_message(format_args!(
            "\"{text}\" is not a multiple of {step} from {lowest} to {highest} mdegC"
        ))
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn limit_is_a_multiple_of_half_a_degree() {
        assert_eq!(["-55000", "0", "75500", "125000"].map(parse), [-110, 0, 151, 250].map(Ok));
        for text in ["-55500", "125500", "100", "75.5", ""] {
            assert_eq!(
                parse(text).unwrap_err().to_string(),
                std::format!("\"{text}\" is not a multiple of 500 from -55000 to 125000 mdegC")
            );
        }
    }
}
