import CProcessMemory

/// The registers of an x86-64 thread that carry arguments and results.
public struct ThreadRegisters: Hashable, Sendable {
  /// Their values.
  public let rdi: UInt64, rsi: UInt64, rdx: UInt64, rcx: UInt64, rax: UInt64

  /// These values.
  public init(rdi: UInt64, rsi: UInt64, rdx: UInt64, rcx: UInt64, rax: UInt64) {
    (self.rdi, self.rsi, self.rdx, self.rcx, self.rax) = (rdi, rsi, rdx, rcx, rax)
  }

  /// Those of `thread`, which is stopped and which this very thread traces: inside a debugger that holds it, one system call.
  /// Nil everywhere else.
  public init?(ofTracedThread thread: Int32) {
    var values: [UInt64] = Array(repeating: 0, count: 5)
    guard thread > 0, iommulens_thread_registers(thread, &values) == 0 else { return nil }
    self.init(rdi: values[0], rsi: values[1], rdx: values[2], rcx: values[3], rax: values[4])
  }
}
