"""Functions that `posix.py` uses to make calls, compare results and report failures.

For each failed check, the program prints a line with the subject, the call, the expected result and
the actual result.
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

# The checks that are expected to fail. Each key has the form (subject, call, correct result). Each
# value contains the dialects in which the check fails, and the reason why. If one of these checks
# passes, it is reported as a failure.
KNOWN = {}

subjects = []
failures = []


def subject(function):
    """Registers a function that checks one system call. The function runs in its own directory."""
    subjects.append(function)
    return function


def run(names):
    """Runs the subjects with the given names, or all subjects if `names` is empty.

    Returns the exit status.
    """
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
        fault(call, f"a failure ({reason})", "success: remove it from KNOWN")
    elif not reason and expected != got:
        fault(call, expected, got)


def same(what, expected, got):
    """Checks that two values are equal."""
    judge(what, repr(expected), repr(got))


def fails(expected, call, *args, user=0, **more):
    """Checks that the call fails with the given error. The call is made as the given user."""
    judge(described(call, args, more, user), expected, outcome(call, args, more, user))


def works(call, *args, user=0, **more):
    """Checks that the call succeeds. The call is made as the given user."""
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
    """Calls the function in a child process that runs as the given user, and returns the result."""
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
    """Creates a file with the given content and mode."""
    with open(name, "wb") as file:
        file.write(content)
    os.chmod(name, mode)


def content(name):
    with open(name, "rb") as file:
        return file.read()


def mode(name):
    """Returns the permission bits as octal digits. Does not follow symbolic links."""
    return oct(os.lstat(name).st_mode & 0o7777)


def moves(times, name, call, *args):
    """Checks that the call succeeds and changes only the given times of the file called `name`.

    `times` contains `m` for the modification time and `c` for the change time.
    """
    # Only 9P2000.L supports times with fractions of a second.
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
    same(f"times of {name} changed by {described(call, args, {}, 0)}", times, moved)


def path_errors(call, *rest, directory=False):
    """Checks that `call` fails with the correct error for each kind of invalid path.

    The arguments to `call` are the path, followed by `rest`.
    """
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
