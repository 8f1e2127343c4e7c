"""Compares random reads, writes, truncations and memory maps of a file with a model, like fsx.

  fsx.py FILE SEED ROUNDS [map]

With `map`, the program also writes to shared memory maps, which v9fs allows only in some cache modes.
"""

import mmap
import os
import random
import sys

LARGEST = 300_000
RECENT = 12


def main():
    name, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    case = Case(name, random.Random(seed), sys.argv[4:] == ["map"])
    for number in range(rounds):
        case.step()
        if case.wrong:
            print(f"fsx: seed {seed}, step {number}: {case.wrong}; the last calls:")
            print(*case.calls[-RECENT:], sep="\n")
            return 1
    case.close()
    os.remove(name)
    return 0


class Case:
    """A file, its expected content, and the calls made so far."""

    def __init__(self, name, chance, maps):
        self.name, self.chance, self.maps = name, chance, maps
        self.model, self.calls, self.wrong = bytearray(), [], None
        self.file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def step(self):
        calls = [self.read, self.read, self.write, self.write, self.truncate, self.append,
                 self.reopen, self.read_map, self.size]
        if self.maps:
            calls += [self.write_map, self.write_map]
        self.chance.choice(calls)()

    def close(self):
        os.close(self.file)

    def say(self, call):
        self.calls.append(call)

    def compare(self, offset, expected, got):
        if expected != got:
            length = min(len(expected), len(got))
            at = next((i for i in range(length) if expected[i] != got[i]), length)
            show = lambda data: data[at : at + 8].hex() or "the end"
            self.wrong = f"{self.calls[-1]}: at {offset + at} expected {show(expected)}, got {show(got)}"

    def place(self, beyond=0):
        """Returns a random offset (often a page boundary) and a random length."""
        offset = self.chance.randrange(len(self.model) + 1 + beyond)
        if self.chance.random() < 0.3:
            offset -= offset % 4096
        length = int(2 ** self.chance.uniform(0, 16))
        return offset, min(length, LARGEST - offset)

    def read(self):
        offset, length = self.place(beyond=5000)
        self.say(f"read {length} at {offset}")
        got = b""
        while len(got) < length and (part := os.pread(self.file, length - len(got), offset + len(got))):
            got += part
        self.compare(offset, bytes(self.model[offset : offset + length]), got)

    def write(self):
        offset, length = self.place(beyond=20_000 if len(self.model) < LARGEST - 20_000 else 0)
        if length <= 0:
            return
        self.say(f"write {length} at {offset}")
        self.put(offset, data := self.chance.randbytes(length))
        done = 0
        while done < length:
            done += os.pwrite(self.file, data[done:], offset + done)

    def append(self):
        length = min(self.chance.randrange(1, 9000), LARGEST - len(self.model))
        if length <= 0:
            return
        self.say(f"append {length}")
        handle = os.open(self.name, os.O_WRONLY | os.O_APPEND)
        data = self.chance.randbytes(length)
        os.write(handle, data)
        os.close(handle)
        self.model += data

    def truncate(self):
        size = self.chance.randrange(LARGEST)
        self.say(f"truncate to {size}")
        os.ftruncate(self.file, size) if self.chance.random() < 0.5 else os.truncate(self.name, size)
        del self.model[size:]
        self.model += bytes(size - len(self.model))

    def reopen(self):
        self.say("close and open")
        self.close()
        self.file = os.open(self.name, os.O_RDWR)

    def size(self):
        self.say("stat")
        sizes = os.fstat(self.file).st_size, os.stat(self.name).st_size
        if sizes != (len(self.model),) * 2:
            self.wrong = f"stat: expected {len(self.model)} bytes, got {sizes[0]} and {sizes[1]}"

    def read_map(self):
        offset, length = self.place()
        length = min(length, len(self.model) - offset)
        if length <= 0:
            return
        self.say(f"map to read {length} at {offset}")
        with mmap.mmap(self.file, len(self.model), mmap.MAP_PRIVATE, mmap.PROT_READ) as pages:
            got = pages[offset : offset + length]
        self.compare(offset, bytes(self.model[offset : offset + length]), got)

    def write_map(self):
        offset, length = self.place()
        length = min(length, len(self.model) - offset)
        if length <= 0:
            return
        self.say(f"map to write {length} at {offset}")
        self.put(offset, data := self.chance.randbytes(length))
        with mmap.mmap(self.file, len(self.model)) as pages:
            pages[offset : offset + length] = data
            pages.flush()

    def put(self, offset, data):
        self.model += bytes(max(0, offset + len(data) - len(self.model)))
        self.model[offset : offset + len(data)] = data


if __name__ == "__main__":
    sys.exit(main())
