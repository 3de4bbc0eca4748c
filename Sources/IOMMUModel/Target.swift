public import PageTables

/// What a driver profile may ask of the debugger that holds the guest. Everything else it works out for itself.
public protocol Target {
  /// The value of an integer or pointer expression in the target's language, cut to 64 bits.
  func evaluate(_ expression: String) throws(TargetError) -> UInt64

  /// The C string that an expression of type `char *` or `char[]` gives.
  func string(_ expression: String) throws(TargetError) -> String

  /// The parameter names of a function, in order; an error when the symbol or its debug information is missing.
  func parameters(of function: String) throws(TargetError) -> [String]

  /// The name of the function that starts at `address`.
  func function(at address: KVA) throws(TargetError) -> String

  /// `count` bytes of the kernel's memory.
  func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8]

  /// `count` bytes of guest-physical memory through the debugger: slow, and works wherever the debugger does.
  func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8]

  /// Whole pages of guest-physical memory one behind the other, in one go where the debugger has a way to.
  func readPages(_ pages: [GPA]) throws(TargetError) -> [UInt8]

  /// Writes guest-physical memory or a device's registers, 8 bytes at once where there are 8. Changes the target: nothing
  /// does it that was not asked to.
  func write(_ address: GPA, bytes: [UInt8]) throws(TargetError)

  /// Where the debugger's remote connection leads, as it names it: `localhost:1234`, `/run/guest.sock`; nil without one.
  func connection() -> String?

  /// The answer of the machine's monitor (QEMU's HMP) to a command.
  func monitor(_ command: String) throws(TargetError) -> String

  /// Whether the call of `function` that was made at `place` is still on its thread's stack; any thread's without a place.
  func isInside(_ function: String, _ place: CallPlace?) -> Bool
}

/// Where a call was made.
public struct CallPlace: Hashable, Sendable {
  /// The debugger's number for the thread: a CPU of the guest.
  public let thread: Int
  /// The stack pointer at the function's first instruction.
  public let stack: UInt64

  /// A place.
  public init(thread: Int, stack: UInt64) {
    self.thread = thread
    self.stack = stack
  }
}

/// Why the debugger could not answer: a full sentence that tells what to do.
public struct TargetError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The sentence.
  public let description: String

  /// An error with this sentence.
  public init(_ description: String) { self.description = description }
}

extension Target {
  /// One read a page.
  public func readPages(_ pages: [GPA]) throws(TargetError) -> [UInt8] {
    var bytes: [UInt8] = []
    for page in pages { bytes += try read(page, count: 4096) }
    return bytes
  }

  /// No.
  public func write(_ address: GPA, bytes: [UInt8]) throws(TargetError) {
    throw TargetError("This debugger does not write to the guest: \(bytes.count) bytes at \(address) stay as they are.")
  }

  /// The offset of `member` in `type`, both as the sources spell them.
  public func offset(of member: String, in type: String) throws(TargetError) -> UInt64 {
    try evaluate("(unsigned long)&((\(type) *)0)->\(member)")
  }
}
