public import PageTables

/// What may be asked of a debugger that holds the program in which the device is implemented (QEMU), besides what every
/// ``Target`` answers.
public protocol HostTarget: Target {
  /// The process that the debugger runs or is attached to; nil for none.
  func process() -> Int32?

  /// The architecture of that program, as GDB names it: `i386:x86-64`.
  func architecture() -> String

  /// `count` bytes of that process's memory.
  func read(_ address: HVA, count: Int) throws(TargetError) -> [UInt8]

  /// The names of the functions above `function`, which the selected thread is in: innermost first, at most `limit`.
  func callers(of function: String, limit: Int) -> [String]

  /// The value of the parameter `name` of the function `depth` frames above `function` (0 for its caller), or for a
  /// pointer what it points at; nil where it is not known there.
  func argument(_ name: String, ofCaller depth: Int, above function: String) -> UInt64?
}

/// The memory of the process in which the device is implemented.
public struct HostMemory {
  /// Answers with exactly so many bytes.
  public typealias Reader = (_ address: HVA, _ count: Int) throws(TargetError) -> [UInt8]

  private let reader: Reader

  /// Memory read by `reader`.
  public init(reader: @escaping Reader) { self.reader = reader }

  /// `count` bytes from `address` on.
  public func bytes(at address: HVA, count: Int) throws(TargetError) -> [UInt8] {
    let bytes = try reader(address, count)
    guard bytes.count == count else {
      throw TargetError("QEMU's memory at \(address): \(bytes.count) bytes were read, not \(count).")
    }
    return bytes
  }

  /// The little-endian 8-byte word at `address`.
  public func word(at address: HVA) throws(TargetError) -> UInt64 { try integer(at: address, size: 8) }

  /// The pointer at `address`; nil for a null pointer.
  public func pointer(at address: HVA) throws(TargetError) -> HVA? {
    let bits = try word(at: address)
    return bits == 0 ? nil : HVA(bits)
  }

  /// The unsigned little-endian integer of `size` bytes (0 to 8) at `address`.
  public func integer(at address: HVA, size: Int) throws(TargetError) -> UInt64 {
    try bytes(at: address, count: min(max(size, 0), 8)).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The text at `address` up to its NUL, at most `limit` bytes.
  public func string(at address: HVA, limit: Int = 64) throws(TargetError) -> String {
    String(decoding: try bytes(at: address, count: limit).prefix { $0 != 0 }, as: UTF8.self)
  }
}
