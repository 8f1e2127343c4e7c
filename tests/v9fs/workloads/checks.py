"""How the checks of `posix.py` call, compare and report.

A failed check is one line: the subject, the call, what was expected and what came instead.
"""

import errno
import json
import os
import sys
import time

DIALECT = os.environ["DIALECT"]
LINUX = DIALECT == "9p2000.L"
UNIX = DIALECT != "9p2000"
OTHER = 65534

# Failures that are known: (subject, call, what it should give), with the dialects and the reason.
# One that passes after all is a failure until its line is gone.
KNOWN = {}

subjects = []
failures = []


def subject(function):
    """Marks what tests one system call: it runs in a directory of its own."""
    subjects.append(function)
    return function


def run(names):
    """Runs the subjects of these names, or all; returns the exit status."""
    for function in subjects:
        name = function.__name__.rstrip("_")
        if names and name not in names:
            continue
        run.now, run.checks = name, 0
        os.mkdir(name)
        os.chdir(name)
        try:
            function()
        except OSError as error:
            line = error.__traceback__.tb_next.tb_lineno
            fault(f"line {line}", "no error", f"{error.strerror} ({error.filename})")
        os.chdir("..")
        print(f"{name}: {run.checks} checks", flush=True)
    print(*failures, sep="\n")
    return 1 if failures else 0


def fault(call, expected, got):
    failures.append(f"{run.now}: {call}: expected {expected}, got {got}")


def judge(call, expected, got):
    run.checks += 1
    dialects, reason = KNOWN.get((run.now, call, expected), ("", None))
    reason = reason if DIALECT in dialects.split() else None
    if reason and expected == got:
        fault(call, f"a failure ({reason})", "none any more: take it out of KNOWN")
    elif not reason and expected != got:
        fault(call, expected, got)


def same(what, expected, got):
    """Compares two values."""
    judge(what, repr(expected), repr(got))


def fails(expected, call, *args, user=0, **more):
    """The call fails with the error of this name, perhaps made by another user."""
    judge(described(call, args, more, user), expected, outcome(call, args, more, user))


def works(call, *args, user=0, **more):
    """The call succeeds, perhaps made by another user."""
    judge(described(call, args, more, user), "success", outcome(call, args, more, user))


def described(call, args, more, user):
    short = lambda arg: f"{arg[:6]!r}...{len(arg)}" if hasattr(arg, "__len__") and len(arg) > 40 else repr(arg)
    words = [short(arg) for arg in args] + [f"{key}={short(arg)}" for key, arg in more.items()]
    return f"{call.__name__}({', '.join(words)})" + (f" by user {user}" if user else "")


def outcome(call, args, more, user):
    if user:
        return as_user(user, lambda: outcome(call, args, more, 0))
    try:
        result = call(*args, **more)
        if type(result) is int and call is os.open:
            os.close(result)
        return "success"
    except OSError as error:
        return errno.errorcode[error.errno]


def as_user(user, function):
    """What the function returns in a process of this user."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            answer = function()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        answer = json.loads(lines.read())
    os.waitpid(child, 0)
    return answer


def make(name, content=b"", mode=0o644):
    """Makes a file."""
    with open(name, "wb") as file:
        file.write(content)
    os.chmod(name, mode)


def content(name):
    with open(name, "rb") as file:
        return file.read()


def mode(name):
    """The permissions of what the name itself is, in octal digits."""
    return oct(os.lstat(name).st_mode & 0o7777)


def moves(times, name, call, *args):
    """The call succeeds and moves exactly these times of `name`: a (for atime), m and c."""
    # Only .L has fractions of a second.
    if not LINUX:
        return works(call, *args)
    before = os.lstat(name)
    time.sleep(0.02)
    works(call, *args)
    after = os.lstat(name)
    moved = "".join(
        letter
        for letter in "mc"
        if getattr(after, f"st_{letter}time_ns") != getattr(before, f"st_{letter}time_ns")
    )
    same(f"times of {name} moved by {described(call, args, {}, 0)}", times, moved)


def path_errors(call, *rest, directory=False):
    """What every call says of an impossible path. `call` gets the path, then `rest`."""
    make("file")
    works(os.symlink, "loop", "loop") if UNIX else None
    fails("ENOTDIR", call, "file/name", *rest)
    fails("ENOENT", call, "missing/name", *rest)
    fails("ENAMETOOLONG", call, "n" * 256, *rest)
    fails("ENAMETOOLONG", call, "d/" * 2048 + "n", *rest)
    if UNIX:
        fails("ELOOP", call, "loop/name", *rest)
        os.remove("loop")
    os.remove("file")


def main():
    sys.exit(run(sys.argv[1:]))
