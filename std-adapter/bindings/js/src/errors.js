/**
 * The errors thrown by this package. Every error has a `code`, like errors from `node:fs`.
 * @module
 */

/**
 * The name of an error in the conformance table of the bindings, or `other`.
 * @typedef {'already_exists' | 'does_not_exist' | 'is_dir' | 'not_dir' | 'not_file'
 *   | 'not_symlink' | 'conflict' | 'open_conflicts' | 'not_fast_forward' | 'invalid_hash'
 *   | 'invalid_branch' | 'invalid_path' | 'transaction_ended' | 'other'} ErrorKind
 */

/**
 * @typedef {object} ErrorFields
 * @property {string} code The error code, such as `ENOENT`.
 * @property {ErrorKind} [kind]
 * @property {unknown} [cause]
 */

/**
 * The Linux error numbers and their usual messages. 9P2000.u and 9P2000.L use these numbers on all
 * operating systems.
 */
const ERRNOS = /** @type {const} */ ({
  EPERM: [1, 'Operation not permitted'],
  ENOENT: [2, 'No such file or directory'],
  EINTR: [4, 'Interrupted system call'],
  EIO: [5, 'Input/output error'],
  EBADF: [9, 'Bad file descriptor'],
  EAGAIN: [11, 'Resource temporarily unavailable'],
  ENOMEM: [12, 'Cannot allocate memory'],
  EACCES: [13, 'Permission denied'],
  EBUSY: [16, 'Device or resource busy'],
  EEXIST: [17, 'Already exists'],
  EXDEV: [18, 'Invalid cross-device link'],
  ENODEV: [19, 'No such device'],
  ENOTDIR: [20, 'Is not a directory'],
  EISDIR: [21, 'Is a directory'],
  EINVAL: [22, 'Invalid argument'],
  ENFILE: [23, 'Too many open files in system'],
  EMFILE: [24, 'Too many open files'],
  EFBIG: [27, 'File too large'],
  ENOSPC: [28, 'No space left on device'],
  ESPIPE: [29, 'Illegal seek'],
  EROFS: [30, 'Read-only file'],
  EPIPE: [32, 'Broken pipe'],
  ERANGE: [34, 'Numerical result out of range'],
  ENAMETOOLONG: [36, 'File name too long'],
  ENOSYS: [38, 'Function not implemented'],
  ENOTEMPTY: [39, 'Directory not empty'],
  ENODATA: [61, 'No data available'],
  EPROTO: [71, 'Protocol error'],
  EOVERFLOW: [75, 'Value too large for defined data type'],
  EMSGSIZE: [90, 'Message too long'],
  EOPNOTSUPP: [95, 'Operation not supported'],
  ETIMEDOUT: [110, 'Connection timed out'],
  ESTALE: [116, 'Stale file handle'],
});

/**
 * Error messages sent by the DataKit server and other servers. A 9P2000 server sends no error
 * number, so the client looks up the error text here.
 */
const TEXTS = new Map(
  Object.entries({
    'file does not exist': 'ENOENT',
    'file not found': 'ENOENT',
    'permission denied': 'EACCES',
    'File exists': 'EEXIST',
    'file already exists': 'EEXIST',
    'Not a directory': 'ENOTDIR',
    'not a directory': 'ENOTDIR',
    "Can't walk from a file": 'ENOTDIR',
    'Directory is read-only': 'EROFS',
    'Read-only file system': 'EROFS',
    'Attempt to seek in stream': 'ESPIPE',
    'directory not empty': 'ENOTEMPTY',
    "Can't write to directories": 'EISDIR',
    'too many requests are waiting': 'EAGAIN',
    'Can only contain directories': 'EPERM',
    "Can't chmod special file": 'EPERM',
  }),
);

/** @type {Map<number, string>} */
const NAMES = new Map();
for (const [code, [errno, text]] of Object.entries(ERRNOS)) {
  NAMES.set(errno, code);
  TEXTS.set(text, code);
}

/** @type {Map<string, ErrorKind>} */
const KINDS = new Map([
  ['ENOENT', 'does_not_exist'],
  ['EEXIST', 'already_exists'],
  ['EISDIR', 'is_dir'],
  ['ENOTDIR', 'not_dir'],
]);

/** The base class of this package's errors, except `AbortError`. */
export class DatakitError extends Error {
  /**
   * @param {string} message
   * @param {ErrorFields} fields
   */
  constructor(message, { code, kind = 'other', cause }) {
    super(message, cause === undefined ? undefined : { cause });
    /** The error code, such as `ENOENT`. */
    this.code = code;
    /** The name of the error in the conformance table of the bindings, or `other`. */
    this.kind = kind;
    /**
     * The operation that failed, if it was applied to a path.
     * @type {string | undefined}
     */
    this.syscall = undefined;
    /**
     * The path on the server to which the operation was applied.
     * @type {string | undefined}
     */
    this.path = undefined;
  }

  get name() {
    return this.constructor.name;
  }

  /**
   * Adds the operation and the path to the error and to its message, unless the error already has a
   * path.
   * @param {string} syscall
   * @param {string} path
   */
  locate(syscall, path) {
    if (this.path === undefined) {
      this.syscall = syscall;
      this.path = path;
      this.message += `, ${syscall} '${path}'`;
      // The error was created when the reply arrived, so its stack does not contain the caller. A
      // stack captured here contains the caller.
      Error.captureStackTrace(this, this.locate);
    }
    return this;
  }
}

/** The server refused a request. The client also throws this error if it refuses a call itself. */
export class ServerError extends DatakitError {
  /**
   * @param {number} errno The Linux error number, or 0 if the server sent none.
   * @param {string} [text] The error text, or an empty string if the server sent none.
   */
  constructor(errno, text = '') {
    const code = (errno === 0 ? codeOf(text) : NAMES.get(errno)) ?? 'UNKNOWN';
    const known = Object.entries(ERRNOS).find(([name]) => name === code)?.[1];
    const full = text || known?.[1] || `error ${errno}`;
    super(`${code}: ${full}`, { code, kind: kindOf(code, full) });
    /** The Linux error number, or 0 if it is unknown. */
    this.errno = errno || known?.[0] || 0;
    /** The server's error text, or the usual message for the error number. */
    this.text = full;
  }

  /**
   * Returns an error with the given code.
   * @param {keyof typeof ERRNOS} code
   * @param {string} [text]
   */
  static of(code, text) {
    return new ServerError(ERRNOS[code][0], text);
  }
}

/**
 * Patterns that match the error messages of the database. Several of these errors share a number,
 * so the client checks the text before the number.
 * @type {[RegExp, ErrorKind, string][]}
 */
const DATABASE_TEXTS = [
  [/^Merge conflict: /, 'conflict', 'EBUSY'],
  [/^conflicts file is not empty$/, 'open_conflicts', 'EBUSY'],
  [/^not-fast-forward$/, 'not_fast_forward', 'EBUSY'],
  [/^invalid-hash /, 'invalid_hash', 'EINVAL'],
  [/^invalid branch name /, 'invalid_branch', 'EINVAL'],
  // The server sends this text if the parent of a new file is not a directory.
  [/ is not a directory$/, 'not_dir', 'ENOTDIR'],
];

/**
 * @param {string} code
 * @param {string} text
 */
function kindOf(code, text) {
  const known = DATABASE_TEXTS.find(([pattern]) => pattern.test(text));
  return known?.[1] ?? KINDS.get(code) ?? 'other';
}

/** @param {string} text */
function codeOf(text) {
  return TEXTS.get(text) ?? DATABASE_TEXTS.find(([pattern]) => pattern.test(text))?.[2];
}

/**
 * The connection could not be established or was lost. All subsequent requests fail with this
 * error. `code` is the code of the cause (for example `ECONNREFUSED`), or `ECONNRESET` if the cause
 * has no code.
 */
export class ConnectionLostError extends DatakitError {
  /**
   * @param {string} reason
   * @param {{ code?: string, cause?: unknown }} [fields]
   */
  constructor(reason, { code, cause } = {}) {
    const inner = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    super(`connection lost: ${reason}`, { code: code ?? inner ?? 'ECONNRESET', cause });
  }
}

/** The server violated the protocol. `code` is `EPROTO`. */
export class ProtocolError extends DatakitError {
  /** @param {string} reason */
  constructor(reason) {
    super(`protocol error: ${reason}`, { code: 'EPROTO' });
  }
}

/**
 * An argument is not valid. It may be, for example, a path, a hash or a branch name. `code` is
 * `EINVAL`.
 */
export class InvalidArgumentError extends DatakitError {
  /**
   * @param {string} message
   * @param {ErrorKind} [kind]
   */
  constructor(message, kind = 'other') {
    super(message, { code: 'EINVAL', kind });
  }
}

/**
 * The operation was aborted by its `AbortSignal`. The name and code are the same as in `node:fs`.
 * `cause` is the signal's `reason`.
 */
export class AbortError extends Error {
  /** @param {unknown} [cause] */
  constructor(cause) {
    super('The operation was aborted', cause === undefined ? undefined : { cause });
    this.code = 'ABORT_ERR';
  }

  get name() {
    return 'AbortError';
  }
}

/**
 * Throws an {@link AbortError} if the signal is aborted.
 * @param {AbortSignal | undefined} signal
 */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw new AbortError(signal.reason);
}
