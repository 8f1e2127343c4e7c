//! THE TABLE: all messages of the three dialects, a row each.
//!
//! A row is the number of the request, the name, the fields of request and reply; the reply's number is one more. `Error` and
//! `Lerror` have no request: the number before theirs is illegal. The fields say how they look in which dialect.

use core::fmt::{self, Write};

use super::dialect::Rows;
#[cfg(feature = "linux")]
use super::{Attr, Datasync, SetAttr, StatFs};
use super::{
    Data, Dialect, Errno, Extension, Fid, Field, Full, List, Malformed, Numeric, Qid, Reader, Stat,
    Str, Tag, Writer,
};

messages! {
    All if all() {
        /// version(5): `Tversion msize[4] version[s]`, `Rversion msize[4] version[s]`
        100 Version T { msize: u32, version: Str<'a> } R { msize: u32, version: Str<'a> }

        /// auth(5): `Tauth afid[4] uname[s] aname[s]`, .u and .L add `n_uname[4]`; `Rauth aqid[13]`
        102 Auth T { afid: Fid, uname: Str<'a>, aname: Str<'a>, n_uname: Numeric } R { aqid: Qid }

        /// attach(5): `Tattach fid[4] afid[4] uname[s] aname[s]`, .u and .L add `n_uname[4]`; `Rattach qid[13]`
        104 Attach T { fid: Fid, afid: Fid, uname: Str<'a>, aname: Str<'a>, n_uname: Numeric } R { qid: Qid }

        /// flush(5): `Tflush oldtag[2]`, `Rflush`
        108 Flush T { oldtag: Tag } R

        /// walk(5): `Twalk fid[4] newfid[4] nwname[2] nwname*(wname[s])`, `Rwalk nwqid[2] nwqid*(wqid[13])`
        // "A maximum of sixteen names or qids may be packed in a single message": clients send more, the frame is the bound.
        110 Walk T { fid: Fid, newfid: Fid, wnames: List<'a, Str<'a>> } R { wqids: List<'a, Qid> }

        /// read(5): `Tread fid[4] offset[8] count[4]`, `Rread count[4] data[count]`
        116 Read T { fid: Fid, offset: u64, count: u32 } R { data: Data<'a> }

        /// read(5): `Twrite fid[4] offset[8] count[4] data[count]`, `Rwrite count[4]`
        118 Write T { fid: Fid, offset: u64, data: Data<'a> } R { count: u32 }

        /// clunk(5): `Tclunk fid[4]`, `Rclunk`
        120 Clunk T { fid: Fid } R

        /// remove(5): `Tremove fid[4]`, `Rremove`
        122 Remove T { fid: Fid } R
    }

    Classic if all() {
        /// error(5): `Rerror ename[s]`, .u adds `errno[4]`
        106 Error R { ename: Str<'a>, errno: Errno }

        /// open(5): `Topen fid[4] mode[1]`, `Ropen qid[13] iounit[4]`
        112 Open T { fid: Fid, mode: u8 } R { qid: Qid, iounit: u32 }

        /// open(5): `Tcreate fid[4] name[s] perm[4] mode[1]`, .u adds `extension[s]`; `Rcreate qid[13] iounit[4]`
        114 Create T { fid: Fid, name: Str<'a>, perm: u32, mode: u8, extension: Extension<'a> } R { qid: Qid, iounit: u32 }

        /// stat(5): `Tstat fid[4]`, `Rstat stat[n]`
        124 Stat T { fid: Fid } R { stat: Stat<'a> }

        /// stat(5): `Twstat fid[4] stat[n]`, `Rwstat`
        126 Wstat T { fid: Fid, stat: Stat<'a> } R
    }

    Linux if feature = "linux" {
        /// .L: `Rlerror ecode[4]`
        6 Lerror R { ecode: u32 }

        /// .L, statfs(2): `Tstatfs fid[4]`, `Rstatfs` as the fields of [`StatFs`]
        8 Statfs T { fid: Fid } R { statfs: StatFs }

        /// .L, open(2): `Tlopen fid[4] flags[4]`, `Rlopen qid[13] iounit[4]`
        12 Lopen T { fid: Fid, flags: u32 } R { qid: Qid, iounit: u32 }

        /// .L, creat(2): `Tlcreate fid[4] name[s] flags[4] mode[4] gid[4]`, `Rlcreate qid[13] iounit[4]`
        14 Lcreate T { fid: Fid, name: Str<'a>, flags: u32, mode: u32, gid: u32 } R { qid: Qid, iounit: u32 }

        /// .L, symlink(2): `Tsymlink dfid[4] name[s] target[s] gid[4]`, `Rsymlink qid[13]`
        16 Symlink T { dfid: Fid, name: Str<'a>, target: Str<'a>, gid: u32 } R { qid: Qid }

        /// .L, mknod(2): `Tmknod dfid[4] name[s] mode[4] major[4] minor[4] gid[4]`, `Rmknod qid[13]`
        18 Mknod T { dfid: Fid, name: Str<'a>, mode: u32, major: u32, minor: u32, gid: u32 } R { qid: Qid }

        /// .L, rename(2): `Trename fid[4] dfid[4] name[s]`, `Rrename`
        20 Rename T { fid: Fid, dfid: Fid, name: Str<'a> } R

        /// .L, readlink(2): `Treadlink fid[4]`, `Rreadlink target[s]`
        22 Readlink T { fid: Fid } R { target: Str<'a> }

        /// .L, stat(2): `Tgetattr fid[4] mask[8]`, `Rgetattr` as the fields of [`Attr`]
        24 Getattr T { fid: Fid, mask: u64 } R { attr: Attr }

        /// .L, chmod(2), chown(2), truncate(2), utimensat(2): `Tsetattr fid[4]` and the fields of [`SetAttr`], `Rsetattr`
        26 Setattr T { fid: Fid, set: SetAttr } R

        /// .L, getxattr(2): `Txattrwalk fid[4] newfid[4] name[s]`, `Rxattrwalk size[8]`
        30 Xattrwalk T { fid: Fid, newfid: Fid, name: Str<'a> } R { size: u64 }

        /// .L, setxattr(2): `Txattrcreate fid[4] name[s] attr_size[8] flags[4]`, `Rxattrcreate`
        32 Xattrcreate T { fid: Fid, name: Str<'a>, attr_size: u64, flags: u32 } R

        /// .L, getdents(2): `Treaddir fid[4] offset[8] count[4]`, `Rreaddir count[4] data[count]`, [`Dirent`](super::Dirent)s
        40 Readdir T { fid: Fid, offset: u64, count: u32 } R { data: Data<'a> }

        /// .L, fsync(2): `Tfsync fid[4] datasync[4]`, older clients without `datasync`; `Rfsync`
        50 Fsync T { fid: Fid, datasync: Datasync } R

        /// .L, fcntl(2): `Tlock fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]`, `Rlock status[1]`
        52 Lock T { fid: Fid, kind: u8, flags: u32, start: u64, length: u64, proc_id: u32, client_id: Str<'a> } R { status: u8 }

        /// .L, fcntl(2): `Tgetlock fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]`, `Rgetlock` the same without fid
        54 Getlock T { fid: Fid, kind: u8, start: u64, length: u64, proc_id: u32, client_id: Str<'a> }
                   R { kind: u8, start: u64, length: u64, proc_id: u32, client_id: Str<'a> }

        /// .L, link(2): `Tlink dfid[4] fid[4] name[s]`, `Rlink`
        70 Link T { dfid: Fid, fid: Fid, name: Str<'a> } R

        /// .L, mkdir(2): `Tmkdir dfid[4] name[s] mode[4] gid[4]`, `Rmkdir qid[13]`
        72 Mkdir T { dfid: Fid, name: Str<'a>, mode: u32, gid: u32 } R { qid: Qid }

        /// .L, renameat(2): `Trenameat olddirfid[4] oldname[s] newdirfid[4] newname[s]`, `Rrenameat`
        74 Renameat T { olddirfid: Fid, oldname: Str<'a>, newdirfid: Fid, newname: Str<'a> } R

        /// .L, unlinkat(2): `Tunlinkat dirfid[4] name[s] flags[4]`, `Runlinkat`
        76 Unlinkat T { dirfid: Fid, name: Str<'a>, flags: u32 } R
    }
}

/// `Walk` as `Twalk`.
fn trace_name(letter: char, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char(letter)?;
    name.chars().try_for_each(|c| f.write_char(c.to_ascii_lowercase()))
}
