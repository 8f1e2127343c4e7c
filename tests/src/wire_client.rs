//! A blocking client that sends individual messages. The caller chooses fids and tags.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use datakit_core::wire::{
    self, Attr, Data, Dialect, Extension, Fid, List, Numeric, Qid, Rmessage as R, SetAttr, Stat,
    StatUnix, Str, Tag, Tmessage as T,
};

use tokio::net::TcpSocket;

use crate::TIMEOUT;

/// The text and number from an error reply. The text is empty in 9P2000.L, and the number is 0 in
/// 9P2000.
pub type Refusal = (String, u32);

/// Returns a stat record for a Twstat that changes nothing.
#[must_use]
pub fn untouched() -> Stat<'static> {
    let qid = Qid { kind: 0xff, version: u32::MAX, path: u64::MAX };
    Stat {
        kind: u16::MAX,
        dev: u32::MAX,
        qid,
        mode: u32::MAX,
        atime: u32::MAX,
        mtime: u32::MAX,
        length: u64::MAX,
        name: Str(b""),
        uid: Str(b""),
        gid: Str(b""),
        muid: Str(b""),
        unix: Some(StatUnix {
            extension: Str(b""),
            n_uid: u32::MAX,
            n_gid: u32::MAX,
            n_muid: u32::MAX,
        }),
    }
}

/// A connection on which individual messages are sent and received.
pub struct WireClient {
    /// The socket. Tests can use its socket to send arbitrary bytes.
    pub socket: TcpStream,
    /// The negotiated dialect.
    pub dialect: Dialect,
    /// The maximum message size in bytes.
    pub msize: u32,
}

impl WireClient {
    /// Opens a connection without sending anything.
    pub fn connect(addr: SocketAddr) -> WireClient {
        WireClient::try_connect(addr).unwrap()
    }

    /// Opens a connection from the local address `source`.
    pub fn connect_from(source: &str, addr: SocketAddr) -> WireClient {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let socket = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
            socket.connect(addr).await.unwrap().into_std().unwrap()
        });
        socket.set_nonblocking(false).unwrap();
        WireClient::over(socket).unwrap()
    }

    fn try_connect(addr: SocketAddr) -> io::Result<WireClient> {
        WireClient::over(TcpStream::connect(addr)?)
    }

    fn over(socket: TcpStream) -> io::Result<WireClient> {
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_nodelay(true)?;
        Ok(WireClient { socket, dialect: Dialect::Legacy, msize: 8192 })
    }

    /// Connects, negotiates `dialect` and attaches fid 0 to the root.
    pub fn attached(addr: SocketAddr, dialect: Dialect, msize: u32) -> WireClient {
        WireClient::try_attached(addr, dialect, msize).unwrap()
    }

    /// Like [`attached`](WireClient::attached), but returns an error if the server refuses the
    /// connection.
    ///
    /// # Errors
    /// Returns any error returned by the socket.
    pub fn try_attached(addr: SocketAddr, dialect: Dialect, msize: u32) -> io::Result<WireClient> {
        let mut client = WireClient::try_connect(addr)?;
        assert_eq!(client.try_version(msize, dialect.version())?.1, dialect.version());
        client.dialect = dialect;
        client.try_attach(0)?.unwrap();
        Ok(client)
    }

    /// Sends Tversion and returns the msize and version from the reply. Does not change the
    /// `dialect` field.
    pub fn version(&mut self, msize: u32, version: &str) -> (u32, String) {
        self.try_version(msize, version).unwrap()
    }

    fn try_version(&mut self, msize: u32, version: &str) -> io::Result<(u32, String)> {
        self.try_send(Tag::NONE, &T::Version { msize, version: version.into() })?;
        let frame = self.receive()?;
        let (_, R::Version { msize, version }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rversion")
        };
        self.msize = msize;
        Ok((msize, version.to_string()))
    }

    /// Attaches `fid` to the root.
    pub fn attach(&mut self, fid: u32) -> Result<(), Refusal> {
        self.try_attach(fid).unwrap()
    }

    fn try_attach(&mut self, fid: u32) -> io::Result<Result<(), Refusal>> {
        let request = T::Attach {
            fid: Fid(fid),
            afid: Fid::NONE,
            uname: "u".into(),
            aname: "".into(),
            n_uname: Numeric::NONE,
        };
        Ok(self.try_rpc(&request)?.map(drop))
    }

    /// Attaches `fid` to `aname` as the user with id `uid`.
    pub fn attach_as(&mut self, fid: u32, aname: &str, uid: u32) -> Result<(), Refusal> {
        let (uname, n_uname) = ("u".into(), Numeric(uid));
        self.rpc(&T::Attach { fid: Fid(fid), afid: Fid::NONE, uname, aname: aname.into(), n_uname })
            .map(drop)
    }

    /// Sends a request.
    pub fn send(&mut self, tag: Tag, request: &T<'_>) {
        self.try_send(tag, request).unwrap();
    }

    fn try_send(&mut self, tag: Tag, request: &T<'_>) -> io::Result<()> {
        let mut buf = vec![0; 256 * 1024];
        let len = request.encode(tag, self.dialect, &mut buf).unwrap();
        self.socket.write_all(&buf[..len])
    }

    /// Sends a frame with an arbitrary type and body.
    pub fn send_raw(&mut self, kind: u8, tag: Tag, body: &[u8]) {
        let mut frame = u32::try_from(wire::HEADER + body.len()).unwrap().to_le_bytes().to_vec();
        frame.push(kind);
        frame.extend(tag.0.to_le_bytes());
        frame.extend(body);
        self.socket.write_all(&frame).unwrap();
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// Returns any error returned by the socket, for example at the end of the stream or after
    /// [`TIMEOUT`].
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        self.socket.read_exact(&mut frame)?;
        let size = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        assert!((wire::HEADER..=256 * 1024).contains(&size), "a message of {size} bytes");
        frame.resize(size, 0);
        self.socket.read_exact(&mut frame[4..])?;
        Ok(frame)
    }

    /// Receives the next message and returns its tag, along with either the frame or the reported
    /// error.
    pub fn reply(&mut self) -> (Tag, Result<Vec<u8>, Refusal>) {
        self.try_reply().unwrap()
    }

    fn try_reply(&mut self) -> io::Result<(Tag, Result<Vec<u8>, Refusal>)> {
        let frame = self.receive()?;
        Ok(match R::decode(&frame, self.dialect).unwrap() {
            (tag, R::Error { ename, errno }) => (tag, Err((ename.to_string(), errno.0))),
            (tag, R::Lerror { ecode }) => (tag, Err((String::new(), ecode))),
            (tag, _) => (tag, Ok(frame)),
        })
    }

    /// Sends a request and returns its reply. The reply must be the next message that arrives.
    pub fn rpc(&mut self, request: &T<'_>) -> Result<Vec<u8>, Refusal> {
        self.try_rpc(request).unwrap()
    }

    fn try_rpc(&mut self, request: &T<'_>) -> io::Result<Result<Vec<u8>, Refusal>> {
        self.try_send(Tag(1), request)?;
        let (tag, reply) = self.try_reply()?;
        assert_eq!(tag, Tag(1));
        Ok(reply)
    }

    /// Sends a request that must fail and returns the error text.
    pub fn refused(&mut self, request: &T<'_>) -> String {
        self.rpc(request).expect_err("the request must fail").0
    }

    /// Returns whether the server closes the connection. Discards any messages that arrive first.
    pub fn closed(&mut self) -> bool {
        let mut buf = [0; 4096];
        loop {
            match self.socket.read(&mut buf) {
                Ok(0) => return true,
                Ok(_) => {}
                // A read with a timeout also ends when the process is stopped and continued.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Walks from `fid` to `newfid` along the `/`-separated names in `path` and returns the qids.
    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Result<Vec<Qid>, Refusal> {
        let names: Vec<Str<'_>> =
            path.split('/').filter(|name| !name.is_empty()).map(Str::from).collect();
        let request =
            T::Walk { fid: Fid(fid), newfid: Fid(newfid), wnames: List::from(names.as_slice()) };
        let frame = self.rpc(&request)?;
        let (_, R::Walk { wqids }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rwalk")
        };
        Ok(wqids.iter().collect())
    }

    /// Opens `fid` with a mode byte, or with the equivalent flags in 9P2000.L.
    pub fn open(&mut self, fid: u32, mode: u8) -> Result<(), Refusal> {
        let request = match self.dialect {
            Dialect::Linux => T::Lopen { fid: Fid(fid), flags: u32::from(mode & 3) },
            _ => T::Open { fid: Fid(fid), mode },
        };
        self.rpc(&request).map(drop)
    }

    /// Opens `fid` with `open(2)` flags. Works only in 9P2000.L.
    pub fn lopen(&mut self, fid: u32, flags: u32) -> Result<(), Refusal> {
        self.rpc(&T::Lopen { fid: Fid(fid), flags }).map(drop)
    }

    /// Creates or opens `name` in the directory to which `fid` refers, using `open(2)` flags.
    /// Afterwards, `fid` refers to the opened file. Works only in 9P2000.L.
    pub fn lcreate(&mut self, fid: u32, name: &str, flags: u32, mode: u32) -> Result<(), Refusal> {
        self.rpc(&T::Lcreate { fid: Fid(fid), name: name.into(), flags, mode, gid: 0 }).map(drop)
    }

    /// Returns the attributes of the file to which `fid` refers. Works only in 9P2000.L.
    pub fn getattr(&mut self, fid: u32) -> Result<Attr, Refusal> {
        let frame = self.rpc(&T::Getattr { fid: Fid(fid), mask: Attr::ALL })?;
        let (_, R::Getattr { attr }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rgetattr")
        };
        Ok(attr)
    }

    /// Changes the attributes of the file to which `fid` refers. Works only in 9P2000.L.
    pub fn setattr(&mut self, fid: u32, set: SetAttr) -> Result<(), Refusal> {
        self.rpc(&T::Setattr { fid: Fid(fid), set }).map(drop)
    }

    /// Removes the file to which `fid` refers and clunks `fid`.
    pub fn remove(&mut self, fid: u32) -> Result<(), Refusal> {
        self.rpc(&T::Remove { fid: Fid(fid) }).map(drop)
    }

    /// Walks from fid 0 to `path` and opens the file there.
    pub fn open_path(&mut self, newfid: u32, path: &str, mode: u8) {
        self.walk(0, newfid, path).unwrap();
        self.open(newfid, mode).unwrap();
    }

    /// Reads up to `count` bytes.
    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Refusal> {
        let frame = self.rpc(&T::Read { fid: Fid(fid), offset, count })?;
        let (_, R::Read { data }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rread")
        };
        Ok(data.0.to_vec())
    }

    /// Writes `data` and returns the number of bytes that the server has written.
    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, Refusal> {
        let frame = self.rpc(&T::Write { fid: Fid(fid), offset, data: Data(data) })?;
        let (_, R::Write { count }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rwrite")
        };
        Ok(count)
    }

    /// Clunks `fid`.
    pub fn clunk(&mut self, fid: u32) -> Result<(), Refusal> {
        self.rpc(&T::Clunk { fid: Fid(fid) }).map(drop)
    }

    /// Passes a file's stat record to `with` and returns the result. Works only in 9P2000 and
    /// 9P2000.u.
    pub fn stat<X>(&mut self, fid: u32, with: impl FnOnce(&Stat<'_>) -> X) -> X {
        let frame = self.rpc(&T::Stat { fid: Fid(fid) }).unwrap();
        let (_, R::Stat { stat }) = R::decode(&frame, self.dialect).unwrap() else {
            panic!("no Rstat")
        };
        with(&stat)
    }

    /// Creates `name` in the directory to which `fid` refers. Afterwards, `fid` refers to the new
    /// file, which is open for reading and writing.
    pub fn create(
        &mut self,
        fid: u32,
        name: &str,
        perm: u32,
        extension: Option<&'static str>,
    ) -> Result<(), Refusal> {
        let extension = Extension(extension.map(Str::from));
        self.rpc(&T::Create { fid: Fid(fid), name: name.into(), perm, mode: 2, extension })
            .map(drop)
    }
}
