/// What the bytes at an address say, or why they are not followed.
enum Decoder {
  /// The instruction in the low two or four bytes of `bits`, as their lowest bits tell.
  static func decode(_ bits: UInt32) throws(Refusal) -> Instruction {
    isCompressed(bits) ? try compressed(bits & 0xffff) : try full(bits)
  }

  /// Whether the instruction has two bytes (unprivileged specification, "Expanded Instruction-Length Encoding").
  static func isCompressed(_ bits: UInt32) -> Bool { bits & 3 != 3 }

  // Unprivileged specification, "RV32/64G Instruction Set Listings".
  private static func full(_ word: UInt32) throws(Refusal) -> Instruction {
    let rd = Register(word >> 7), first = Register(word >> 15), second = Register(word >> 20)
    let function = word >> 12 & 7
    switch word & 0x7f {
    case 0x37: return .loadUpper(rd: rd, value: signExtended(word & 0xffff_f000, from: 32))
    case 0x17: return .addUpperToPC(rd: rd, value: signExtended(word & 0xffff_f000, from: 32))
    case 0x6f: return .jump(rd: rd, offset: jumpOffset(word))
    case 0x67 where function == 0: return .jumpRegister(rd: rd, base: first, offset: signExtended(word >> 20, from: 12))
    case 0x63:
      guard let condition = condition(function) else { throw .unknown }
      return .branch(condition, first, second, offset: branchOffset(word))
    case 0x03 where function != 7:
      guard let width = Instruction.Width(rawValue: 1 << (function & 3)) else { throw .unknown }
      return .load(width, signed: function < 4, rd: rd, base: first, offset: signExtended(word >> 20, from: 12))
    case 0x23 where function < 4:
      guard let width = Instruction.Width(rawValue: 1 << function) else { throw .unknown }
      let offset = signExtended(bits(word, 25, 7, to: 5) | word >> 7 & 31, from: 12)
      return .store(width, source: second, base: first, offset: offset)
    case 0x13: return try immediate(word, function)
    case 0x1b: return try immediateWord(word, function)
    case 0x33:
      guard let operation = operation(function, word >> 25) else { throw .unknown }
      return .register(operation, rd: rd, first, second)
    case 0x3b:
      guard let operation = wordOperation(function, word >> 25) else { throw .unknown }
      return .register(operation, rd: rd, first, second)
    case 0x0f where function < 2: return .fence
    case 0x0f where function == 2: throw .cacheBlock
    case 0x73: throw system(word, function)
    case 0x2f: throw .atomic
    case 0x07, 0x27:
      // Widths 0, 5, 6, 7 of the floating-point loads and stores are the vector ones.
      throw function == 0 || function >= 5 ? .vector : .floatingPoint
    case 0x43, 0x47, 0x4b, 0x4f, 0x53: throw .floatingPoint
    case 0x57: throw .vector
    default: throw .unknown
    }
  }

  private static func immediate(_ word: UInt32, _ function: UInt32) throws(Refusal) -> Instruction {
    let rd = Register(word >> 7), source = Register(word >> 15)
    let operation: Instruction.Operation
    switch (function, word >> 26) {
    case (1, 0): operation = .sll
    case (5, 0): operation = .srl
    case (5, 0x10): operation = .sra
    case (1, _), (5, _): throw .unknown
    default:
      guard let plain = self.operation(function, 0) else { throw .unknown }
      return .immediate(plain, rd: rd, source: source, value: signExtended(word >> 20, from: 12))
    }
    return .immediate(operation, rd: rd, source: source, value: UInt64(word >> 20 & 63))
  }

  private static func immediateWord(_ word: UInt32, _ function: UInt32) throws(Refusal) -> Instruction {
    let rd = Register(word >> 7), source = Register(word >> 15)
    if function == 0 {
      return .immediate(.addw, rd: rd, source: source, value: signExtended(word >> 20, from: 12))
    }
    guard function == 1 || function == 5, let operation = wordOperation(function, word >> 25),
      [.sllw, .srlw, .sraw].contains(operation)
    else { throw .unknown }
    return .immediate(operation, rd: rd, source: source, value: UInt64(word >> 20 & 31))
  }

  private static func system(_ word: UInt32, _ function: UInt32) -> Refusal {
    switch (function, word) {
    case (0, 0x0000_0073): .environmentCall
    case (0, 0x0010_0073): .breakpoint
    case (0, _), (4, _): .privileged
    default: .controlRegister
    }
  }

  private static func condition(_ function: UInt32) -> Instruction.Condition? {
    switch function {
    case 0: .equal
    case 1: .notEqual
    case 4: .less
    case 5: .greaterOrEqual
    case 6: .lessUnsigned
    case 7: .greaterOrEqualUnsigned
    default: nil
    }
  }

  private static func operation(_ function: UInt32, _ variant: UInt32) -> Instruction.Operation? {
    let table: [Instruction.Operation]
    switch variant {
    case 0: table = [.add, .sll, .slt, .sltu, .xor, .srl, .or, .and]
    case 1: table = [.mul, .mulh, .mulhsu, .mulhu, .div, .divu, .rem, .remu]
    case 0x20: return function == 0 ? .sub : function == 5 ? .sra : nil
    default: return nil
    }
    return table[Int(function & 7)]
  }

  private static func wordOperation(_ function: UInt32, _ variant: UInt32) -> Instruction.Operation? {
    switch (variant, function) {
    case (0, 0): .addw
    case (0, 1): .sllw
    case (0, 5): .srlw
    case (0x20, 0): .subw
    case (0x20, 5): .sraw
    case (1, 0): .mulw
    case (1, 4): .divw
    case (1, 5): .divuw
    case (1, 6): .remw
    case (1, 7): .remuw
    default: nil
    }
  }

  // Bits 31, 19:12, 20, 30:21 of the word are bits 20, 19:12, 11, 10:1 of the offset.
  private static func jumpOffset(_ word: UInt32) -> UInt64 {
    let high = bits(word, 31, 1, to: 20) | bits(word, 12, 8, to: 12)
    return signExtended(high | bits(word, 20, 1, to: 11) | bits(word, 21, 10, to: 1), from: 21)
  }

  // Bits 31, 7, 30:25, 11:8 of the word are bits 12, 11, 10:5, 4:1 of the offset.
  private static func branchOffset(_ word: UInt32) -> UInt64 {
    let high = bits(word, 31, 1, to: 12) | bits(word, 7, 1, to: 11)
    return signExtended(high | bits(word, 25, 6, to: 5) | bits(word, 8, 4, to: 1), from: 13)
  }

  /// `width` bits of `word` from bit `low` on, moved to bit `target`.
  static func bits(_ word: UInt32, _ low: UInt32, _ width: UInt32, to target: UInt32) -> UInt32 {
    (word >> low & ((1 << width) &- 1)) << target
  }

  /// The low `bits` bits of `field` as a signed number.
  static func signExtended(_ field: UInt32, from bits: UInt64) -> UInt64 {
    UInt64(bitPattern: Int64(bitPattern: UInt64(field) << (64 &- bits)) >> (64 &- bits))
  }
}
