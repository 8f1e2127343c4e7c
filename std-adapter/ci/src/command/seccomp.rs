//! The system call filter for sandboxes.
//!
//! The filter blocks system calls that have exposed many kernel vulnerabilities or that affect the
//! whole host, unless builds need them. For a blocked call, the kernel returns `ENOSYS`, so
//! programs that can do without the call behave as they would on an old kernel.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A filter instruction (`struct sock_filter` in `bpf(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// Loads a field of `struct seccomp_data`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// The offsets of the fields of `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const ALLOW: u32 = 0x7fff_0000;
/// Fail with `ENOSYS`, which is 38 on the supported architectures.
const REFUSE: u32 = 0x0005_0000 | 38;

/// An architecture whose programs the kernel can run.
struct Architecture {
    /// The constant `AUDIT_ARCH_*`.
    id: u32,
    /// The numbers of the blocked system calls.
    refused: &'static [i64],
    /// The lowest call number that belongs to another ABI with the same `id`. If there is no such
    /// ABI, this is larger than the number of any call.
    limit: u32,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[Architecture] = &[
    Architecture { id: 0xc000_003e, refused: REFUSED, limit: 0x4000_0000 },
    // 32-bit programs: init_module, delete_module, kexec_load, add_key, request_key, keyctl,
    // perf_event_open, open_by_handle_at, finit_module, bpf, userfaultfd, io_uring.
    Architecture {
        id: 0x4000_0003,
        refused: &[128, 129, 283, 286, 287, 288, 336, 342, 350, 357, 374, 425, 426, 427],
        limit: u32::MAX,
    },
];

#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[Architecture] =
    &[Architecture { id: 0xc000_00b7, refused: REFUSED, limit: u32::MAX }];

/// Other architectures are not supported.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURES: &[Architecture] = &[];

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_userfaultfd,
];

/// Returns the path of a file that contains the filter. The file exists only in the memory of this
/// process.
pub(super) fn file() -> Option<PathBuf> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| match create() {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(%error, "cannot create the system call filter");
            None
        }
    });
    let number = file.as_ref()?.as_raw_fd();
    Some(PathBuf::from(format!("/proc/{}/fd/{number}", std::process::id())))
}

fn create() -> std::io::Result<Option<File>> {
    if ARCHITECTURES.is_empty() {
        return Ok(None);
    }
    let file = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    for instruction in filter(ARCHITECTURES) {
        file.write_all(&instruction.code.to_ne_bytes())?;
        file.write_all(&[instruction.if_true, instruction.if_false])?;
        file.write_all(&instruction.operand.to_ne_bytes())?;
    }
    Ok(Some(file))
}

fn filter(architectures: &[Architecture]) -> Vec<Instruction> {
    let mut program = vec![instruction(LOAD, ARCHITECTURE)];
    for architecture in architectures {
        let block = block(architecture);
        // Skip this block on other architectures.
        let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
        program
            .push(Instruction { if_false: length, ..instruction(JUMP_IF_EQUAL, architecture.id) });
        program.extend(block);
    }
    program.push(instruction(RETURN, REFUSE));
    program
}

/// Returns the instructions for one architecture. The last instruction blocks the call.
fn block(architecture: &Architecture) -> Vec<Instruction> {
    let calls = architecture.refused.iter().filter_map(|number| u32::try_from(*number).ok());
    let mut block =
        vec![instruction(LOAD, NUMBER), instruction(JUMP_IF_GREATER_OR_EQUAL, architecture.limit)];
    block.extend(calls.map(|number| instruction(JUMP_IF_EQUAL, number)));
    block.extend([instruction(RETURN, ALLOW), instruction(RETURN, REFUSE)]);
    let end = block.len() - 1;
    for (at, instruction) in block.iter_mut().enumerate() {
        if instruction.code == JUMP_IF_EQUAL || instruction.code == JUMP_IF_GREATER_OR_EQUAL {
            // Jump distances are relative to the next instruction.
            instruction.if_true = u8::try_from(end - at - 1).unwrap_or(u8::MAX);
        }
    }
    block
}

fn instruction(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter on a system call and returns `true` if the call is allowed.
    fn is_allowed(program: &[Instruction], architecture: u32, number: u32) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let condition = match instruction.code {
                LOAD => {
                    value = if instruction.operand == NUMBER { number } else { architecture };
                    continue;
                }
                JUMP_IF_EQUAL => value == instruction.operand,
                JUMP_IF_GREATER_OR_EQUAL => value >= instruction.operand,
                RETURN => return instruction.operand == ALLOW,
                other => panic!("{other}"),
            };
            at += usize::from(if condition { instruction.if_true } else { instruction.if_false });
        }
    }

    #[test]
    fn filter_refuses_the_listed_calls_of_each_architecture() {
        let architectures = [
            Architecture { id: 7, refused: &[10, 20, 30], limit: 1000 },
            Architecture { id: 8, refused: &[11, 20], limit: u32::MAX },
        ];
        let program = filter(&architectures);
        for (architecture, refused) in [(7, vec![10, 20, 30, 1000, 5000]), (8, vec![11, 20])] {
            for number in [0, 9, 10, 11, 12, 20, 30, 999, 1000, 5000] {
                let expected = !refused.contains(&number);
                assert_eq!(is_allowed(&program, architecture, number), expected, "{number}");
            }
        }
        assert!(!is_allowed(&program, 9, 0));
    }

    #[test]
    fn jumps_fit_into_a_byte() {
        assert!(ARCHITECTURES.iter().all(|architecture| block(architecture).len() < 200));
    }
}
