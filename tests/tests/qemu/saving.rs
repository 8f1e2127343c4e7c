//! Tests that a board loads saved parameters after a restart. The board's flash is a file.

use std::convert::Infallible;
use std::fs;

use datakit_client::{Client, Error};
use datakit_core::files::{Param, Value};
use datakit_core::params::ParamSet;
use datakit_core::vfs::{Dir, dir, file};
use datakit_core::wire::Dialect;
use datakit_persist::{Blocking, Region, Store};
use datakit_tests::board::Board;
use embassy_futures::block_on;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use super::{read_text, soon};

/// Runs a command in `params/ctl` and returns the reply.
async fn command(client: &Client, command: &str) -> String {
    client.write("params/ctl", command.as_bytes()).await.unwrap();
    soon(read_text(client, "params/ctl")).await
}

/// Restarts the board and returns a client.
async fn restart(board: &Board, client: Client) -> Client {
    client.write("sys/reset", b"reset").await.unwrap();
    // The board closes the connection when it restarts.
    while !matches!(soon(client.read("sys/uptime")).await, Err(Error::Lost(_))) {}
    loop {
        let client = board.client(Dialect::Unix).await;
        if soon(client.read("sys/uptime")).await.is_ok() {
            return client;
        }
    }
}

#[tokio::test]
async fn qemu_saved_values_survive_a_reset_and_a_restart_of_qemu() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("flash.bin"), b"").unwrap();
    let board = Board::boot_in(dir.path());
    let client = board.client(Dialect::Unix).await;
    assert_eq!(read_text(&client, "sys/wear").await, "0 erases of 4 blocks\n");
    client.write("params/blink/period", b"77").await.unwrap();
    client.write("params/limits/high", b"50").await.unwrap();
    assert_eq!(command(&client, "save blink/period").await, "saved 1 value\n");

    let client = restart(&board, client).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "77\n");
    assert_eq!(read_text(&client, "params/limits/high").await, "90\n", "it was not saved");
    drop((client, board));

    let board = Board::boot_in(dir.path());
    let client = board.client(Dialect::Unix).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "77\n");
    client.write("params/blink/period", b"78").await.unwrap();
    assert_eq!(command(&client, "load").await, "loaded 1 value\n");
    assert_eq!(read_text(&client, "params/blink/period").await, "77\n");
    assert_eq!(read_text(&client, "sys/wear").await, "1 erases of 4 blocks\n");
    assert_eq!(command(&client, "erase").await, "erased 1 value\n");
    assert_eq!(read_text(&client, "params/blink/period").await, "77\n");

    let client = restart(&board, client).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "1000\n");
    assert_eq!(read_text(&client, "sys/wear").await, "5 erases of 4 blocks\n");
}

#[tokio::test]
async fn qemu_board_without_flash_has_its_defaults() {
    let board = Board::boot();
    let client = board.client(Dialect::Unix).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "1000\n");
    assert_eq!(command(&client, "save").await, "the flash failed\n");
}

/// A simulated flash memory with the same layout as the board's flash.
struct Memory(Vec<u8>);

impl ErrorType for Memory {
    type Error = Infallible;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// The parameters of an older firmware version in which `period` had no limits.
static PERIOD: Value<u32> = Value::new(5);
static DUTY: Value<u32> = Value::new(25);
static BLINK: Dir =
    Dir::new(&[file("period", &Param::new(&PERIOD)), file("duty", &Param::new(&DUTY))]);
static OLD: Dir = Dir::new(&[dir("blink", &BLINK)]);
static OLD_SET: ParamSet = ParamSet::new(&OLD);

#[tokio::test]
async fn qemu_value_outside_the_range_is_reported_as_an_event() {
    let mut flash = Blocking(Memory(vec![0xff; 4096]));
    let region = Region::new::<Blocking<Memory>>(0..4096, 1024);
    block_on(Store::<_, 512>::new(&mut flash, region, &OLD_SET).save(0..2)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("flash.bin"), flash.0.0).unwrap();

    let board = Board::boot_in(dir.path());
    let client = board.client(Dialect::Unix).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "1000\n");
    assert_eq!(read_text(&client, "params/blink/duty").await, "25\n");
    // The event was published before the client connected.
    let mut events = client.watch("events").await.unwrap();
    loop {
        let event = soon(events.next()).await.unwrap().unwrap();
        if String::from_utf8_lossy(&event).ends_with(" not loaded: blink/period\n") {
            break;
        }
    }
}
