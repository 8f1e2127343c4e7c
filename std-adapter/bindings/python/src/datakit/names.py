"""Checks paths, branch names and hashes before a request is sent."""

from __future__ import annotations

from .errors import InvalidBranch, InvalidHash, InvalidPath

HASH_DIGITS = 40
# Git appends `.lock` to the last component of a branch name, and a file name can have at most 255
# bytes.
BRANCH_PART_MAX = 250


def parse_path(path: str) -> list[str]:
    """Splits a path into its names, which must be separated by single slashes. "" is the root."""
    if path == "":
        return []
    names = path.split("/")
    for name in names:
        if name == "":
            raise InvalidPath(f"{path!r}: use single slashes between the names, as in etc/hosts")
        if name in (".", ".."):
            raise InvalidPath(f"{path!r}: `.` and `..` are not allowed")
        if "\0" in name:
            raise InvalidPath(f"{path!r}: a name must not contain NUL")
    return names


def parse_entry(path: str) -> tuple[list[str], str]:
    """Splits a path into the names of its parent directories and its last name."""
    names = parse_path(path)
    if not names:
        raise InvalidPath("the operation does not accept the root")
    return names[:-1], names[-1]


def check_hash(text: str) -> str:
    """Returns the hash without surrounding white space. Raises InvalidHash if the string is not
    a hash.
    """
    digits = text.strip()
    if len(digits) != HASH_DIGITS:
        reason = f"a hash has {HASH_DIGITS} hex digits, not {len(digits)} characters"
    elif digits.strip("0123456789abcdef"):
        reason = "the digits of a hash are 0-9 and a-f"
    else:
        return digits
    raise InvalidHash(22, f'invalid-hash "{digits}": {reason}')


def check_branch(branch: str) -> str:
    """Returns the name. Raises InvalidBranch if it is not a valid Git branch name."""
    reason = _broken_rule(branch)
    if reason is not None:
        raise InvalidBranch(22, f'invalid branch name "{branch}": {reason}')
    return branch


def branch_to_file_name(branch: str) -> str:
    """Returns the name of a branch's directory. Replaces `/` with `%2F` and `%` with `%25`."""
    return check_branch(branch).replace("%", "%25").replace("/", "%2F")


def branch_of_file_name(name: str) -> str:
    """Returns the branch to which a directory belongs. Inverse of :func:`branch_to_file_name`."""
    return name.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")


def _broken_rule(name: str) -> "str | None":
    """Returns the git-check-ref-format(1) rule that the name violates."""
    if not name:
        return "it is empty"
    if name.startswith("-"):
        return "it starts with a dash, like an option"
    if name == "HEAD":
        return "HEAD stands for the commit that is checked out"
    for character in name:
        if character <= " " or character == "\x7f" or character in "~^:?*[\\":
            return f"it contains {character!r}"
    for pair in ("..", "@{"):
        if pair in name:
            return f"it contains {pair!r}"
    if name.endswith("."):
        return "it ends with a dot"
    for part in name.split("/"):
        if not part:
            return "it has a slash at its start or end, or two in a row"
        if part.startswith(".") or part.endswith(".lock"):
            return f"the part {part!r} starts with a dot or ends with .lock"
        if len(part.encode("utf-8", "surrogateescape")) > BRANCH_PART_MAX:
            return f"a part is longer than {BRANCH_PART_MAX} bytes"
    return None
