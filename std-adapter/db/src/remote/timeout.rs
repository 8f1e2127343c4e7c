//! Others that may say nothing at all, and how long that is waited for.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long another repository may say nothing before it is given up, where nobody says otherwise.
/// Git's own servers say something every five seconds when they have nothing to say.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is written at once: a pipe that is ready takes as much without waiting (pipe(7), `PIPE_BUF`
/// at its smallest).
const AT_ONCE: usize = 512;

/// Waits until one of these is ready.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when none is, for as long as `patience`; `None` is without end.
pub(crate) fn wait(these: &mut [PollFd<'_>], patience: Option<Duration>) -> io::Result<()> {
    // More seconds than the system can count have no end either.
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    match rustix::io::retry_on_intr(|| poll(these, patience.as_ref()))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// A socket or pipe of which each read and each write waits only so long:
/// [`io::ErrorKind::TimedOut`] is the end of it.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    patience: Option<Duration>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Option<Duration>) -> Patient<S> {
        Patient { stream, patience }
    }
}

impl<S: Read + AsFd> Read for Patient<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait(&mut [PollFd::new(&self.stream, PollFlags::IN)], self.patience)?;
        self.stream.read(buf)
    }
}

impl<S: Write + AsFd> Write for Patient<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        wait(&mut [PollFd::new(&self.stream, PollFlags::OUT)], self.patience)?;
        self.stream.write(buf.get(..AT_ONCE).unwrap_or(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_millis(20));

    fn timed_out<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_socket_is_not_waited_for_without_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let (mut input, mut output) = (Patient::new(&far, SHORT), Patient::new(&far, SHORT));
        timed_out(input.read(&mut [0]));
        near.write_all(b"xy").unwrap();
        assert_eq!(input.read(&mut [0; 4]).unwrap(), 2);
        timed_out(input.read(&mut [0]));
        // Nobody reads it.
        timed_out(
            std::iter::repeat_with(|| output.write(&[0; 1 << 16])).find(Result::is_err).unwrap(),
        );
        drop(near);
        input.read(&mut [0]).unwrap_or_default();
        assert!(output.write(&[0]).is_err());
    }

    #[test]
    fn nor_is_a_pipe() {
        let (mut input, output) = io::pipe().unwrap();
        let mut output = Patient::new(output, SHORT);
        timed_out(
            std::iter::repeat_with(|| output.write(&[0; 1 << 16])).find(Result::is_err).unwrap(),
        );
        input.read_exact(&mut [0; 1 << 12]).unwrap();
        output.write_all(&[0; 1 << 12]).unwrap();
        drop(input);
        assert_eq!(output.write(&[0]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn whoever_has_no_limit_waits() {
        let (input, mut output) = io::pipe().unwrap();
        let waiting = std::thread::spawn(|| Patient::new(input, None).read(&mut [0; 4]).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        output.write_all(b"x").unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
        assert_eq!(
            Patient::new(&output, Some(Duration::MAX)).write(b"y").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
