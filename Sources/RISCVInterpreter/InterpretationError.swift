public import PageTables

/// Why a function's result could not be found: every way in which an interpretation ends early.
public enum InterpretationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// More arguments than a0 to a7 hold.
  case tooManyArguments(count: Int)
  /// The bytes of an instruction could not be read.
  case unreadableCode(pc: KVA, reason: String)
  /// The bytes that an instruction loads could not be read.
  case unreadableData(pc: KVA, address: KVA, count: Int, reason: String)
  /// An instruction that is not carried out: its two or four bytes as a number, and why.
  case refused(pc: KVA, bits: UInt32, Refusal)
  /// A store outside the function's own stack.
  case write(pc: KVA, address: KVA, count: Int)
  /// A load or store below the private stack: deep recursion, or a large frame.
  case stackOverflow(pc: KVA, address: KVA)
  /// A load or store above the frame of the function: arguments on a caller's stack, which there is none of.
  case beyondStack(pc: KVA, address: KVA)
  /// A jump into the private stack, or to the odd place that stands for the caller.
  case jumpIntoStack(pc: KVA)
  /// gp or tp is used, and its value was not given.
  case unknownRegister(pc: KVA, Pointer)
  /// More instructions than allowed.
  case tooLong(pc: KVA, limit: Int)

  /// A register that the kernel sets up once and every function may use.
  public enum Pointer: String, Hashable, Sendable {
    /// The global pointer: addresses of small data, with a linker that relaxes.
    case globalPointer = "gp"
    /// The thread pointer: `current`.
    case threadPointer = "tp"
  }

  /// A whole sentence.
  public var description: String {
    switch self {
    case .tooManyArguments(let count):
      return "The function cannot be followed: \(count) arguments were given, and only 8 fit in registers."
    case .unreadableCode(let pc, let reason):
      return Self.sentence("the instruction at \(pc) cannot be read (\(Self.phrase(reason)))")
    case .unreadableData(let pc, let address, let count, let reason):
      return Self.sentence("at \(pc) it reads \(Self.bytes(count)) at \(address), which fails (\(Self.phrase(reason)))")
    case .refused(let pc, let bits, let refusal):
      return Self.sentence("the instruction \(hex(UInt64(bits))) at \(pc) \(refusal.explanation)")
    case .write(let pc, let address, let count):
      return Self.sentence(
        "at \(pc) it writes \(Self.bytes(count)) to \(address) in the kernel's memory, which is not done")
    case .stackOverflow(let pc, let address):
      return Self.sentence("at \(pc) it needs more than \(PrivateStack.size) bytes of stack (\(address))")
    case .beyondStack(let pc, let address):
      return Self.sentence("at \(pc) it uses its caller's stack (\(address)), and it has no caller")
    case .jumpIntoStack(let pc):
      return Self.sentence("it jumps to \(pc) in its own stack, where no code lies")
    case .unknownRegister(let pc, let pointer):
      return Self.sentence("at \(pc) it uses \(pointer.rawValue), whose value is not known")
    case .tooLong(let pc, let limit):
      return Self.sentence("after \(limit) instructions it has not returned (it is at \(pc))")
    }
  }

  private static func sentence(_ what: String) -> String { "The function cannot be followed: \(what)." }

  private static func bytes(_ count: Int) -> String { count == 1 ? "1 byte" : "\(count) bytes" }

  /// A source's own sentence, without its full stop, to stand in brackets.
  private static func phrase(_ reason: String) -> String { reason.hasSuffix(".") ? String(reason.dropLast()) : reason }
}
