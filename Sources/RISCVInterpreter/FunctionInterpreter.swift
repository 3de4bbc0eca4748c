public import PageTables

/// What a function of a stopped guest would return: its instructions are carried out here, over memory that is only read.
///
/// RV64I, M and C, little-endian. Nothing in the guest changes or runs: a store outside the function's own stack ends the
/// interpretation, and so does everything else that has an effect (atomics, control and status registers, calls into the
/// machine). So an answer, where there is one, is the function's answer for the memory as it stands.
public struct FunctionInterpreter {
  /// Answers with exactly `count` bytes of the guest's memory at `address`. It is asked for whole pages of code and for the
  /// very bytes of data that are loaded; it must not touch device registers, whose reading may have effects.
  public typealias Reader = (_ address: KVA, _ count: Int) throws -> [UInt8]

  private let reader: Reader
  private let globalPointer, threadPointer: UInt64?
  private let instructionLimit: Int

  /// An interpreter over what `read` answers.
  ///
  /// - Parameters:
  ///   - globalPointer: gp, by which kernels linked with relaxation reach small data: the address of the symbol
  ///     `__global_pointer$`, not the register of a CPU that may have been stopped in a program; nil ends the
  ///     interpretation at its first use.
  ///   - threadPointer: tp, the kernel's `current`; nil as for gp.
  ///   - instructionLimit: how many instructions a call may take.
  ///   - read: the guest's memory.
  public init(
    globalPointer: UInt64? = nil, threadPointer: UInt64? = nil, instructionLimit: Int = 100_000, read: @escaping Reader
  ) {
    reader = read
    self.globalPointer = globalPointer
    self.threadPointer = threadPointer
    self.instructionLimit = instructionLimit
  }

  /// All 64 bits of a0 when `function` returns from a call with `arguments` in a0 and up.
  ///
  /// A result of a narrower type is in the low bits, extended as the calling convention says: `bool` is 0 or 1, `int` is
  /// sign-extended.
  public func call(_ function: KVA, arguments: [UInt64]) throws(InterpretationError) -> UInt64 {
    guard arguments.count <= Register.arguments.count else { throw .tooManyArguments(count: arguments.count) }
    var machine = Machine(reader: reader, pc: function)
    machine.set(.returnAddress, PrivateStack.returnAddress.rawValue)
    machine.set(.stackPointer, PrivateStack.top.rawValue)
    machine.set(.globalPointer, globalPointer)
    machine.set(.threadPointer, threadPointer)
    for (register, argument) in zip(Register.arguments, arguments) { machine.set(register, argument) }
    var count = 0
    while machine.pc != PrivateStack.returnAddress {
      guard count < instructionLimit else { throw .tooLong(pc: machine.pc, limit: instructionLimit) }
      try machine.step()
      count += 1
    }
    return machine.result
  }
}
