import PageTables
import Randomness
import Testing

@testable import RISCVInterpreter

/// Every way in which an interpretation ends without a result.
@Suite struct EndingTests {
  /// Why `code` at 0x1000 gives no result; `read` answers for other addresses.
  private func ending(
    _ code: [UInt32], arguments: [UInt64] = [], tp: UInt64? = nil, limit: Int = 100,
    read: @escaping FunctionInterpreter.Reader = { address, count in throw GuestProgram.Unmapped() }
  ) -> String {
    let bytes = code.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    let interpreter = FunctionInterpreter(threadPointer: tp, instructionLimit: limit) { address, count in
      let offset = address - KVA(0x1000)
      guard offset < UInt64(bytes.count), UInt64(count) <= UInt64(bytes.count) - offset else {
        return try read(address, count)
      }
      return Array(bytes[Int(offset)..<Int(offset) + count])
    }
    do {
      return hex(try interpreter.call(KVA(0x1000), arguments: arguments))
    } catch { return error.description }
  }

  // c.nop twice first, so that the place is not the function's own.
  private func refused(_ bits: UInt32) -> String { ending([0x0001_0001, bits]) }

  @Test func instructionsThatAreNotCarriedOut() {
    let start = "The function cannot be followed: the instruction"
    #expect(
      refused(0x1005_252f)
        == "\(start) 0x1005252f at 0x1004 is atomic (lr, sc or amo): it would write to the kernel's memory, which is not done."
    )
    #expect(refused(0x00b5_202f).contains("is atomic"))
    #expect(refused(0x0205_7553) == "\(start) 0x2057553 at 0x1004 uses floating point, which is not followed.")
    #expect(refused(0x2108) == "\(start) 0x2108 at 0x1004 uses floating point, which is not followed.")
    #expect(refused(0x0205_7057) == "\(start) 0x2057057 at 0x1004 uses vectors, which are not followed.")
    #expect(
      refused(0x1001_3073)
        == "\(start) 0x10013073 at 0x1004 uses a control and status register, whose value belongs to the stopped CPU.")
    #expect(refused(0x73) == "\(start) 0x73 at 0x1004 is an ecall: it leaves the kernel.")
    #expect(
      refused(0x0010_0073)
        == "\(start) 0x100073 at 0x1004 is an ebreak: a BUG or WARN of the kernel, or a breakpoint that the debugger put there."
    )
    #expect(refused(0x9002).contains("0x9002 at 0x1004 is an ebreak"))
    #expect(refused(0x1050_0073) == "\(start) 0x10500073 at 0x1004 is privileged, which is not followed.")
    #expect(refused(0x0015_200f) == "\(start) 0x15200f at 0x1004 manages a cache block, which is not done.")
    #expect(refused(0xffff_ffff) == "\(start) 0xffffffff at 0x1004 is not of RV64IMC; nothing beyond is followed.")
    #expect(refused(0) == "\(start) 0x0 at 0x1004 is no instruction: no code lies there.")
  }

  @Test func memoryThatCannotBeUsed() async throws {
    let start = "The function cannot be followed:"
    let guest = try await GuestProgram(["-O1"])
    func ending(_ name: String, limit: Int = 100_000) throws -> String {
      do {
        return hex(try guest.interpreter(limit: limit).call(guest.address(name), arguments: []))
      } catch let error as InterpretationError {
        return error.description.replacing(/at 0xffffffff8[0-9a-f]*/, with: "at PC")
      }
    }
    let variable = try guest.address("variable")
    #expect(try ending("nothing") == "0x0")
    #expect(
      try ending("writes")
        == "\(start) at PC it writes 2 bytes to \(variable) in the kernel's memory, which is not done.")
    #expect(try ending("recurses").hasPrefix("\(start) at PC it needs more than 65536 bytes of stack (0x5a007fff"))
    #expect(try ending("spins", limit: 1000) == "\(start) after 1000 instructions it has not returned (it is at PC).")
    #expect(
      try ending("uses_callers_stack")
        == "\(start) at PC it uses its caller's stack (0x5a00800000010000), and it has no caller.")
    #expect(
      try ending("jumps_into_stack") == "\(start) it jumps to 0x5a0080000000fff0 in its own stack, where no code lies.")
    #expect(try ending("reads_nowhere") == "\(start) at PC it reads 2 bytes at 0x42, which fails (Nothing lies there).")
    #expect(try ending("reads_tp") == "\(start) at PC it uses tp, whose value is not known.")
  }

  @Test func codeThatCannotBeRead() {
    let start = "The function cannot be followed:"
    #expect(ending([0x0001_0001]) == "\(start) the instruction at 0x1004 cannot be read (Nothing lies there).")
    // The first half of an instruction is the last of the memory.
    #expect(
      ending([0x0003_0001]) == "\(start) the instruction at 0x1002 cannot be read (Nothing lies there).")
    // jr a0: nowhere, to an odd address (whose lowest bit is not used), to the last address.
    #expect(
      ending([0x0005_0067], arguments: [0x8_0001])
        == "\(start) the instruction at 0x80000 cannot be read (Nothing lies there).")
    #expect(
      ending([0x0005_0067], arguments: [.max], read: { _, _ in [1, 2, 3] })
        == "\(start) the instruction at 0xfffffffffffffffe cannot be read (the source answered with 3 bytes).")
  }

  @Test func dataThatCannotBeRead() {
    let start = "The function cannot be followed: at 0x1000 it reads"
    // ld a0, 0(a0); then ret.
    let code: [UInt32] = [0x0005_3503, 0x0000_8067]
    #expect(ending(code, arguments: [0x2000], read: { _, _ in [1, 2, 3, 4, 5, 6, 7, 0x88] }) == "0x8807060504030201")
    #expect(
      ending(code, arguments: [0x2000], read: { _, _ in [] })
        == "\(start) 8 bytes at 0x2000, which fails (the source answered with 0 bytes).")
    #expect(
      ending(code, arguments: [0xffff_ffff_ffff_fff9])
        == "\(start) 8 bytes at 0xfffffffffffffff9, which fails (the address space ends before).")
    #expect(
      ending([0x0005_4503], arguments: [0x2000]) == "\(start) 1 byte at 0x2000, which fails (Nothing lies there).")
  }

  @Test func argumentsAndPointers() {
    let add: [UInt32] = [0x0115_0533, 0x0000_8067]
    // add a0, a0, a7: the eighth argument is the last.
    #expect(ending(add, arguments: [1, 0, 0, 0, 0, 0, 0, 41]) == "0x2a")
    #expect(
      ending(add, arguments: Array(repeating: 0, count: 9))
        == "The function cannot be followed: 9 arguments were given, and only 8 fit in registers.")
    // mv a0, tp; mv a0, gp.
    #expect(ending([0x0002_0513, 0x0000_8067], tp: 0xff60_0000_0010_0000) == "0xff60000000100000")
    #expect(
      ending([0x0001_8513]) == "The function cannot be followed: at 0x1000 it uses gp, whose value is not known.")
    // An unknown register may be given a value: li tp, 5; mv a0, tp; ret.
    #expect(ending([0x0050_0213, 0x0002_0513, 0x0000_8067]) == "0x5")
  }

  /// Exactly as many instructions as allowed, and one more.
  @Test func theLimit() {
    let code: [UInt32] = [0x0001_0001, 0x0000_8067]
    #expect(ending(code, limit: 3) == "0x0")
    #expect(
      ending(code, limit: 2)
        == "The function cannot be followed: after 2 instructions it has not returned (it is at 0x1004).")
  }

  /// The stack's two edges.
  @Test func theStackIsOneRange() {
    let top = PrivateStack.top.rawValue
    #expect(PrivateStack.place(KVA(top - 8), count: 8) == .inside(PrivateStack.size - 8))
    #expect(PrivateStack.place(KVA(top - 7), count: 8) == .above)
    #expect(PrivateStack.place(KVA(top), count: 1) == .above)
    #expect(PrivateStack.place(KVA(top - UInt64(PrivateStack.size)), count: 8) == .inside(0))
    #expect(PrivateStack.place(KVA(top - UInt64(PrivateStack.size) - 1), count: 8) == .below)
    #expect(PrivateStack.place(PrivateStack.returnAddress, count: 2) == .above)
    for address in [0, 0x59ff_ffff_ffff_ffff, 0x5a01_0000_0000_0000, .max] as [UInt64] {
      #expect(PrivateStack.place(KVA(address), count: 8) == .elsewhere)
    }
  }

  /// Any bits are an instruction or refused.
  @Test func randomInstructions() {
    var random = SeededNumbers()
    for half in UInt32(0)..<0x10000 { _ = try? Decoder.decode(half) }
    for _ in 0..<1_000_000 { _ = try? Decoder.decode(UInt32(truncatingIfNeeded: random.next()) | 3) }
  }

  /// Any bytes as code and as data, from everywhere: an end, and never a trap.
  @Test func randomCodeEnds() {
    var random = SeededNumbers()
    var refused = 0, writes = 0, unreadable = 0, unknown = 0
    for _ in 0..<2000 {
      let bytes = random.bytes(4096)
      let arguments = (0..<8).map { _ in ComparisonTests.argument(&random) }
      let interpreter = FunctionInterpreter(globalPointer: random.next(), instructionLimit: 500) { address, count in
        // Half of all addresses can be read, so that chains of instructions go on.
        guard address.rawValue & 0x1000 == 0 else { throw GuestProgram.Unmapped() }
        return (0..<count).map { bytes[(address.pageOffset + $0) & 4095] }
      }
      do { _ = try interpreter.call(KVA(random.next() & ~0x1fff), arguments: arguments) } catch {
        switch error {
        case .refused: refused += 1
        case .write: writes += 1
        case .unreadableData: unreadable += 1
        case .unknownRegister: unknown += 1
        default: break
        }
      }
    }
    // The numbers say that the code got as far as that.
    #expect(min(refused, writes, unreadable, unknown) > 0, "seed \(random.seed)")
  }
}
