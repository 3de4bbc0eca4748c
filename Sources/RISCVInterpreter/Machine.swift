internal import PageTables

/// One hart's integer state while a function is followed.
struct Machine {
  /// The address of the next instruction.
  private(set) var pc: KVA

  private let reader: FunctionInterpreter.Reader
  private var stack = PrivateStack()
  private var code: [KVA: [UInt8]] = [:]
  private var partialPages: Set<KVA> = []
  // Nil where the value is not known: only ever in gp and tp. What a function saves of the other registers it gives back.
  private var registers = [UInt64?](repeating: 0, count: 32)

  init(reader: @escaping FunctionInterpreter.Reader, pc: KVA) {
    self.reader = reader
    self.pc = pc
  }

  /// a0.
  var result: UInt64 { registers[Register.arguments[0].number] ?? 0 }

  /// Sets a register; x0 stays 0.
  mutating func set(_ register: Register, _ value: UInt64?) {
    if register != .zero { registers[register.number] = value }
  }

  /// Carries out the instruction at ``pc``.
  mutating func step() throws(InterpretationError) {
    let bits = try fetch()
    let instruction: Instruction
    do { instruction = try Decoder.decode(bits) } catch { throw .refused(pc: pc, bits: bits, error) }
    let following = pc + (Decoder.isCompressed(bits) ? 2 : 4)
    var next = following
    switch instruction {
    case .loadUpper(let rd, let value): set(rd, value)
    case .addUpperToPC(let rd, let value): set(rd, pc.rawValue &+ value)
    case .jump(let rd, let offset):
      set(rd, following.rawValue)
      next = pc + offset
    case .jumpRegister(let rd, let base, let offset):
      next = KVA((try value(base) &+ offset) & ~1)
      set(rd, following.rawValue)
    case .branch(let condition, let first, let second, let offset):
      if condition.holds(try value(first), try value(second)) { next = pc + offset }
    case .load(let width, let signed, let rd, let base, let offset):
      set(rd, try load(width, signed: signed, at: KVA(try value(base) &+ offset)))
    case .store(let width, let source, let base, let offset):
      try store(try value(source), width, at: KVA(try value(base) &+ offset))
    case .immediate(let operation, let rd, let source, let second):
      set(rd, operation.result(try value(source), second))
    case .register(let operation, let rd, let first, let second):
      set(rd, operation.result(try value(first), try value(second)))
    case .fence: break
    }
    pc = next
  }

  private func value(_ register: Register) throws(InterpretationError) -> UInt64 {
    guard let value = registers[register.number] else {
      throw .unknownRegister(pc: pc, register == .globalPointer ? .globalPointer : .threadPointer)
    }
    return value
  }

  // MARK: Memory

  /// The two or four bytes at ``pc``.
  private mutating func fetch() throws(InterpretationError) -> UInt32 {
    guard PrivateStack.place(pc, count: 2) == .elsewhere else { throw .jumpIntoStack(pc: pc) }
    guard pc.rawValue & 1 == 0 else { throw .unreadableCode(pc: pc, reason: "an odd address") }
    let low = try half(at: pc)
    return Decoder.isCompressed(low) ? low : low | (try half(at: pc + 2)) << 16
  }

  private mutating func half(at address: KVA) throws(InterpretationError) -> UInt32 {
    let page: [UInt8]
    if let known = code[address.page] {
      page = known
    } else if !partialPages.contains(address.page), let read = try? bytes(at: address.page, count: 4096) {
      page = read
      code[address.page] = read
    } else {
      // Memory that ends within the page, as an executable file's does.
      partialPages.insert(address.page)
      do { return UInt32(Self.number(try bytes(at: address, count: 2))) } catch {
        throw .unreadableCode(pc: pc, reason: "\(error)")
      }
    }
    // A `pc` is even, so both bytes are in one page.
    return UInt32(Self.number(page.dropFirst(address.pageOffset).prefix(2)))
  }

  private func load(
    _ width: Instruction.Width, signed: Bool, at address: KVA
  ) throws(InterpretationError) -> UInt64 {
    let value: UInt64
    switch PrivateStack.place(address, count: width.rawValue) {
    case .inside(let offset): value = stack.load(offset, count: width.rawValue)
    case .below: throw .stackOverflow(pc: pc, address: address)
    case .above: throw .beyondStack(pc: pc, address: address)
    case .elsewhere:
      do { value = Self.number(try bytes(at: address, count: width.rawValue)) } catch {
        throw .unreadableData(pc: pc, address: address, count: width.rawValue, reason: "\(error)")
      }
    }
    guard signed else { return value }
    let unused = UInt64(64 - width.rawValue * 8)
    return UInt64(bitPattern: Int64(bitPattern: value << unused) >> unused)
  }

  private mutating func store(
    _ value: UInt64, _ width: Instruction.Width, at address: KVA
  ) throws(InterpretationError) {
    switch PrivateStack.place(address, count: width.rawValue) {
    case .inside(let offset): stack.store(value, offset, count: width.rawValue)
    case .below: throw .stackOverflow(pc: pc, address: address)
    case .above: throw .beyondStack(pc: pc, address: address)
    case .elsewhere: throw .write(pc: pc, address: address, count: width.rawValue)
    }
  }

  /// Why the guest's memory gave no answer.
  private enum NoAnswer: Error, CustomStringConvertible {
    case wraps
    case short(Int)

    var description: String {
      switch self {
      case .wraps: "the address space ends before"
      case .short(let count): "the source answered with \(count) bytes"
      }
    }
  }

  private func bytes(at address: KVA, count: Int) throws -> [UInt8] {
    guard !address.rawValue.addingReportingOverflow(UInt64(count - 1)).overflow else { throw NoAnswer.wraps }
    let bytes = try reader(address, count)
    guard bytes.count == count else { throw NoAnswer.short(bytes.count) }
    return bytes
  }

  private static func number(_ bytes: some BidirectionalCollection<UInt8>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
