//! The message table, which contains one row for each message in the three dialects.
//!
//! A row consists of the request's type number, the message's name, the request's type constant and
//! fields, and the reply's type constant and fields. A reply's type number is its request's type
//! number plus one. `Error` and `Lerror` have no request, so their rows contain the reply's type
//! number minus one. A field whose encoding depends on the dialect has its own type, such as
//! [`Numeric`].

use core::fmt::{self, Write};

use super::dialect::Rows;
#[cfg(feature = "linux")]
use super::{Attr, Datasync, SetAttr, StatFs};
use super::{
    Data, Dialect, Fid, Field, Full, List, Malformed, Numeric, Qid, Reader, Str, Tag, Writer,
};
#[cfg(feature = "classic")]
use super::{Errno, Extension, Stat};

messages! {
    All if all() {
        /// version(5): `Tversion msize[4] version[s]`
        /// is answered with `Rversion msize[4] version[s]`.
        100 Version T TVERSION { msize: u32, version: Str<'a> }
                    R RVERSION { msize: u32, version: Str<'a> }

        /// auth(5): `Tauth afid[4] uname[s] aname[s] n_uname[4]` is answered with
        /// `Rauth aqid[13]`. The `n_uname` field exists only in 9P2000.u and 9P2000.L.
        102 Auth T TAUTH { afid: Fid, uname: Str<'a>, aname: Str<'a>, n_uname: Numeric }
                 R RAUTH { aqid: Qid }

        /// attach(5): `Tattach fid[4] afid[4] uname[s] aname[s] n_uname[4]` is answered with
        /// `Rattach qid[13]`. The `n_uname` field exists only in 9P2000.u and 9P2000.L.
        104 Attach T TATTACH {
            fid: Fid, afid: Fid, uname: Str<'a>, aname: Str<'a>, n_uname: Numeric,
        } R RATTACH { qid: Qid }

        /// flush(5): `Tflush oldtag[2]`
        /// is answered with `Rflush`.
        108 Flush T TFLUSH { oldtag: Tag } R RFLUSH

        // According to walk(5), "a maximum of sixteen name elements or qids may be packed in a
        // single message". However, some clients send more names, so only the frame size limits the
        // number of names.
        /// walk(5): `Twalk fid[4] newfid[4] nwname[2] nwname*(wname[s])`
        /// is answered with `Rwalk nwqid[2] nwqid*(wqid[13])`.
        110 Walk T TWALK { fid: Fid, newfid: Fid, wnames: List<'a, Str<'a>> }
                 R RWALK { wqids: List<'a, Qid> }

        /// read(5): `Tread fid[4] offset[8] count[4]`
        /// is answered with `Rread count[4] data[count]`.
        116 Read T TREAD { fid: Fid, offset: u64, count: u32 } R RREAD { data: Data<'a> }

        /// read(5): `Twrite fid[4] offset[8] count[4] data[count]`
        /// is answered with `Rwrite count[4]`.
        118 Write T TWRITE { fid: Fid, offset: u64, data: Data<'a> } R RWRITE { count: u32 }

        /// clunk(5): `Tclunk fid[4]`
        /// is answered with `Rclunk`.
        120 Clunk T TCLUNK { fid: Fid } R RCLUNK

        /// remove(5): `Tremove fid[4]`
        /// is answered with `Rremove`.
        122 Remove T TREMOVE { fid: Fid } R RREMOVE
    }

    Classic if feature = "classic" {
        /// error(5): `Rerror ename[s] errno[4]` is the reply to a failed request.
        /// The `errno` field exists only in 9P2000.u.
        106 Error R RERROR { ename: Str<'a>, errno: Errno }

        /// open(5): `Topen fid[4] mode[1]`
        /// is answered with `Ropen qid[13] iounit[4]`.
        112 Open T TOPEN { fid: Fid, mode: u8 } R ROPEN { qid: Qid, iounit: u32 }

        /// open(5): `Tcreate fid[4] name[s] perm[4] mode[1] extension[s]` is answered with
        /// `Rcreate qid[13] iounit[4]`. The `extension` field exists only in 9P2000.u.
        114 Create T TCREATE {
            fid: Fid, name: Str<'a>, perm: u32, mode: u8, extension: Extension<'a>,
        } R RCREATE { qid: Qid, iounit: u32 }

        /// stat(5): `Tstat fid[4]`
        /// is answered with `Rstat stat[n]`.
        124 Stat T TSTAT { fid: Fid } R RSTAT { stat: Stat<'a> }

        /// stat(5): `Twstat fid[4] stat[n]`
        /// is answered with `Rwstat`.
        126 Wstat T TWSTAT { fid: Fid, stat: Stat<'a> } R RWSTAT
    }

    Linux if feature = "linux" {
        /// `Rlerror ecode[4]` is the reply to a failed request.
        /// The `ecode` field contains a Linux error number.
        6 Lerror R RLERROR { ecode: u32 }

        /// statfs(2): `Tstatfs fid[4]`
        /// is answered with `Rstatfs`, whose body is a [`StatFs`].
        8 Statfs T TSTATFS { fid: Fid } R RSTATFS { statfs: StatFs }

        /// open(2): `Tlopen fid[4] flags[4]`
        /// is answered with `Rlopen qid[13] iounit[4]`.
        12 Lopen T TLOPEN { fid: Fid, flags: u32 } R RLOPEN { qid: Qid, iounit: u32 }

        /// creat(2): `Tlcreate fid[4] name[s] flags[4] mode[4] gid[4]`
        /// is answered with `Rlcreate qid[13] iounit[4]`.
        14 Lcreate T TLCREATE { fid: Fid, name: Str<'a>, flags: u32, mode: u32, gid: u32 }
                   R RLCREATE { qid: Qid, iounit: u32 }

        /// symlink(2): `Tsymlink dfid[4] name[s] target[s] gid[4]`
        /// is answered with `Rsymlink qid[13]`.
        16 Symlink T TSYMLINK { dfid: Fid, name: Str<'a>, target: Str<'a>, gid: u32 }
                   R RSYMLINK { qid: Qid }

        /// mknod(2): `Tmknod dfid[4] name[s] mode[4] major[4] minor[4] gid[4]`
        /// is answered with `Rmknod qid[13]`.
        18 Mknod T TMKNOD { dfid: Fid, name: Str<'a>, mode: u32, major: u32, minor: u32, gid: u32 }
                 R RMKNOD { qid: Qid }

        /// rename(2): `Trename fid[4] dfid[4] name[s]`
        /// is answered with `Rrename`.
        20 Rename T TRENAME { fid: Fid, dfid: Fid, name: Str<'a> } R RRENAME

        /// readlink(2): `Treadlink fid[4]`
        /// is answered with `Rreadlink target[s]`.
        22 Readlink T TREADLINK { fid: Fid } R RREADLINK { target: Str<'a> }

        /// stat(2): `Tgetattr fid[4] mask[8]`
        /// is answered with `Rgetattr`, whose body is an [`Attr`].
        24 Getattr T TGETATTR { fid: Fid, mask: u64 } R RGETATTR { attr: Attr }

        /// chmod(2), chown(2), truncate(2), utimensat(2): `Tsetattr`, whose body consists of
        /// `fid[4]` and a [`SetAttr`], is answered with `Rsetattr`.
        26 Setattr T TSETATTR { fid: Fid, set: SetAttr } R RSETATTR

        /// getxattr(2): `Txattrwalk fid[4] newfid[4] name[s]`
        /// is answered with `Rxattrwalk size[8]`.
        30 Xattrwalk T TXATTRWALK { fid: Fid, newfid: Fid, name: Str<'a> }
                     R RXATTRWALK { size: u64 }

        /// setxattr(2): `Txattrcreate fid[4] name[s] attr_size[8] flags[4]`
        /// is answered with `Rxattrcreate`.
        32 Xattrcreate T TXATTRCREATE { fid: Fid, name: Str<'a>, attr_size: u64, flags: u32 }
                       R RXATTRCREATE

        /// getdents(2): `Treaddir fid[4] offset[8] count[4]` is answered with
        /// `Rreaddir count[4] data[count]`, where `data` is a list of [`Dirent`](super::Dirent)s.
        40 Readdir T TREADDIR { fid: Fid, offset: u64, count: u32 } R RREADDIR { data: Data<'a> }

        /// fsync(2): `Tfsync fid[4] datasync[4]` is answered with `Rfsync`.
        /// Older clients omit the `datasync` field.
        50 Fsync T TFSYNC { fid: Fid, datasync: Datasync } R RFSYNC

        /// fcntl(2): `Tlock fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]`
        /// is answered with `Rlock status[1]`.
        52 Lock T TLOCK {
            fid: Fid, kind: u8, flags: u32, start: u64, length: u64, proc_id: u32,
            client_id: Str<'a>,
        } R RLOCK { status: u8 }

        /// fcntl(2): `Tgetlock fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]`
        /// is answered with `Rgetlock`, which has the same fields as the request except `fid`.
        54 Getlock T TGETLOCK {
            fid: Fid, kind: u8, start: u64, length: u64, proc_id: u32, client_id: Str<'a>,
        } R RGETLOCK { kind: u8, start: u64, length: u64, proc_id: u32, client_id: Str<'a> }

        /// link(2): `Tlink dfid[4] fid[4] name[s]`
        /// is answered with `Rlink`.
        70 Link T TLINK { dfid: Fid, fid: Fid, name: Str<'a> } R RLINK

        /// mkdir(2): `Tmkdir dfid[4] name[s] mode[4] gid[4]`
        /// is answered with `Rmkdir qid[13]`.
        72 Mkdir T TMKDIR { dfid: Fid, name: Str<'a>, mode: u32, gid: u32 } R RMKDIR { qid: Qid }

        /// renameat(2): `Trenameat olddirfid[4] oldname[s] newdirfid[4] newname[s]`
        /// is answered with `Rrenameat`.
        74 Renameat T TRENAMEAT {
            olddirfid: Fid, oldname: Str<'a>, newdirfid: Fid, newname: Str<'a>,
        } R RRENAMEAT

        /// unlinkat(2): `Tunlinkat dirfid[4] name[s] flags[4]`
        /// is answered with `Runlinkat`.
        76 Unlinkat T TUNLINKAT { dirfid: Fid, name: Str<'a>, flags: u32 } R RUNLINKAT
    }
}

/// Writes the name of a message type, which consists of `letter` and `name` in lowercase. For
/// example, the letter `T` and the name `Walk` form the message type `Twalk`.
fn write_name(letter: char, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char(letter)?;
    name.chars().try_for_each(|c| f.write_char(c.to_ascii_lowercase()))
}
