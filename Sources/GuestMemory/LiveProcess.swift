import Glibc

/// One process, and never another that was given its number afterwards.
final class LiveProcess: Sendable {
  /// Its folder in /proc, which stays that process's.
  private let folder: Int32

  /// The process that has the number `pid` now; nil with errno where there is none.
  init?(pid: Int32) {
    folder = open("/proc/\(pid)", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if folder < 0 { return nil }
  }

  deinit {
    // Where there was none, errno has to stay.
    if folder >= 0 { close(folder) }
  }

  /// Whether it has not ended. While that is so, its number is nobody else's.
  var isThere: Bool { faccessat(folder, "mem", F_OK, 0) == 0 }
}
