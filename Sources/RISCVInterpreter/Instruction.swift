/// An instruction of RV64I, M or C as the interpreter carries it out. A compressed one is the full one that it stands for
/// (unprivileged specification, "C" extension); it differs only in its length.
enum Instruction: Hashable, Sendable {
  /// `lui`: the immediate, sign-extended and in place.
  case loadUpper(rd: Register, value: UInt64)
  /// `auipc`: what is added to the instruction's own address.
  case addUpperToPC(rd: Register, value: UInt64)
  /// `jal`.
  case jump(rd: Register, offset: UInt64)
  /// `jalr`.
  case jumpRegister(rd: Register, base: Register, offset: UInt64)
  /// `beq` and its kin.
  case branch(Condition, Register, Register, offset: UInt64)
  /// `lb` to `ld`.
  case load(Width, signed: Bool, rd: Register, base: Register, offset: UInt64)
  /// `sb` to `sd`.
  case store(Width, source: Register, base: Register, offset: UInt64)
  /// `addi` and its kin: the second operand is in the instruction.
  case immediate(Operation, rd: Register, source: Register, value: UInt64)
  /// `add` and its kin.
  case register(Operation, rd: Register, Register, Register)
  /// `fence` of every kind and `fence.i`: one reader of memory that stands still has nothing to order.
  case fence

  /// When a branch is taken.
  enum Condition: String, CaseIterable, Sendable {
    case equal = "beq"
    case notEqual = "bne"
    case less = "blt"
    case greaterOrEqual = "bge"
    case lessUnsigned = "bltu"
    case greaterOrEqualUnsigned = "bgeu"
  }

  /// How many bytes a load or store moves.
  enum Width: Int, CaseIterable, Sendable {
    case byte = 1
    case half = 2
    case word = 4
    case double = 8
  }

  /// What two operands become; the raw value is the specification's mnemonic with two registers.
  enum Operation: String, CaseIterable, Sendable {
    case add, sub, sll, slt, sltu, xor, srl, sra, or, and
    case addw, subw, sllw, srlw, sraw
    case mul, mulh, mulhsu, mulhu, div, divu, rem, remu
    case mulw, divw, divuw, remw, remuw
  }
}

/// An integer register, x0 to x31.
struct Register: Hashable, Sendable {
  /// 0 to 31.
  let number: Int

  /// The register in the low five bits of `field`.
  init(_ field: UInt32) { number = Int(field & 31) }

  static let zero = Register(0)
  static let returnAddress = Register(1)
  static let stackPointer = Register(2)
  static let globalPointer = Register(3)
  static let threadPointer = Register(4)
  /// a0 to a7.
  static let arguments = (10..<18).map { Register($0) }
}
