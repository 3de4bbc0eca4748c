extension Decoder {
  // Unprivileged specification, "RVC Instruction Set Listings": the quadrant in bits 1:0, the function in bits 15:13.
  static func compressed(_ half: UInt32) throws(Refusal) -> Instruction {
    switch half & 3 {
    case 0: try quadrant0(half)
    case 1: try quadrant1(half)
    default: try quadrant2(half)
    }
  }

  /// x8 to x15, as three bits name them.
  private static func short(_ field: UInt32) -> Register { Register(8 | field & 7) }

  // Loads and stores with a base register, and the address of something on the stack.
  private static func quadrant0(_ half: UInt32) throws(Refusal) -> Instruction {
    let data = short(half >> 2), base = short(half >> 7)
    let word = UInt64(bits(half, 10, 3, to: 3) | bits(half, 6, 1, to: 2) | bits(half, 5, 1, to: 6))
    let double = UInt64(bits(half, 10, 3, to: 3) | bits(half, 5, 2, to: 6))
    switch half >> 13 {
    case 0:
      let value = bits(half, 11, 2, to: 4) | bits(half, 7, 4, to: 6) | bits(half, 6, 1, to: 2) | bits(half, 5, 1, to: 3)
      guard value != 0 else { throw half == 0 ? .zero : .unknown }
      return .immediate(.add, rd: data, source: .stackPointer, value: UInt64(value))
    case 2: return .load(.word, signed: true, rd: data, base: base, offset: word)
    case 3: return .load(.double, signed: true, rd: data, base: base, offset: double)
    case 6: return .store(.word, source: data, base: base, offset: word)
    case 7: return .store(.double, source: data, base: base, offset: double)
    case 1, 5: throw .floatingPoint
    default: throw .unknown
    }
  }

  // Arithmetic with immediates, jumps and branches.
  private static func quadrant1(_ half: UInt32) throws(Refusal) -> Instruction {
    let rd = Register(half >> 7)
    let field = bits(half, 12, 1, to: 5) | half >> 2 & 31
    let value = signExtended(field, from: 6)
    switch half >> 13 {
    case 0: return .immediate(.add, rd: rd, source: rd, value: value)
    case 1 where rd != .zero: return .immediate(.addw, rd: rd, source: rd, value: value)
    case 2: return .immediate(.add, rd: rd, source: .zero, value: value)
    case 3 where field == 0: throw .unknown
    case 3 where rd == .stackPointer:
      let high = bits(half, 12, 1, to: 9) | bits(half, 3, 2, to: 7) | bits(half, 5, 1, to: 6)
      let scaled = high | bits(half, 2, 1, to: 5) | bits(half, 6, 1, to: 4)
      return .immediate(.add, rd: rd, source: rd, value: signExtended(scaled, from: 10))
    case 3: return .loadUpper(rd: rd, value: value << 12)
    case 4: return try arithmetic(half, field, value)
    case 5: return .jump(rd: .zero, offset: jumpOffset(half))
    case 6: return .branch(.equal, short(half >> 7), .zero, offset: branchOffset(half))
    case 7: return .branch(.notEqual, short(half >> 7), .zero, offset: branchOffset(half))
    default: throw .unknown
    }
  }

  private static func arithmetic(_ half: UInt32, _ field: UInt32, _ value: UInt64) throws(Refusal) -> Instruction {
    let rd = short(half >> 7), second = short(half >> 2)
    switch half >> 10 & 3 {
    case 0: return .immediate(.srl, rd: rd, source: rd, value: UInt64(field))
    case 1: return .immediate(.sra, rd: rd, source: rd, value: UInt64(field))
    case 2: return .immediate(.and, rd: rd, source: rd, value: value)
    default:
      let operations: [Instruction.Operation?] = [.sub, .xor, .or, .and, .subw, .addw, nil, nil]
      guard let operation = operations[Int(bits(half, 12, 1, to: 2) | half >> 5 & 3)] else { throw .unknown }
      return .register(operation, rd: rd, rd, second)
    }
  }

  // Loads and stores on the stack, moves, and jumps through a register.
  private static func quadrant2(_ half: UInt32) throws(Refusal) -> Instruction {
    let rd = Register(half >> 7), source = Register(half >> 2)
    switch half >> 13 {
    case 0:
      return .immediate(.sll, rd: rd, source: rd, value: UInt64(bits(half, 12, 1, to: 5) | half >> 2 & 31))
    case 2 where rd != .zero:
      let offset = bits(half, 12, 1, to: 5) | bits(half, 4, 3, to: 2) | bits(half, 2, 2, to: 6)
      return .load(.word, signed: true, rd: rd, base: .stackPointer, offset: UInt64(offset))
    case 3 where rd != .zero:
      let offset = bits(half, 12, 1, to: 5) | bits(half, 5, 2, to: 3) | bits(half, 2, 3, to: 6)
      return .load(.double, signed: true, rd: rd, base: .stackPointer, offset: UInt64(offset))
    case 4:
      let second = half >> 12 & 1 == 1
      if source != .zero { return .register(.add, rd: rd, second ? rd : .zero, source) }
      if rd != .zero { return .jumpRegister(rd: second ? .returnAddress : .zero, base: rd, offset: 0) }
      throw second ? .breakpoint : .unknown
    case 6:
      let offset = bits(half, 9, 4, to: 2) | bits(half, 7, 2, to: 6)
      return .store(.word, source: source, base: .stackPointer, offset: UInt64(offset))
    case 7:
      let offset = bits(half, 10, 3, to: 3) | bits(half, 7, 3, to: 6)
      return .store(.double, source: source, base: .stackPointer, offset: UInt64(offset))
    case 1, 5: throw .floatingPoint
    default: throw .unknown
    }
  }

  // Bits 12 to 2 of the half word are bits 11, 4, 9:8, 10, 6, 7, 3:1, 5 of the offset.
  private static func jumpOffset(_ half: UInt32) -> UInt64 {
    let high = bits(half, 12, 1, to: 11) | bits(half, 11, 1, to: 4) | bits(half, 9, 2, to: 8) | bits(half, 8, 1, to: 10)
    let low = bits(half, 7, 1, to: 6) | bits(half, 6, 1, to: 7) | bits(half, 3, 3, to: 1) | bits(half, 2, 1, to: 5)
    return signExtended(high | low, from: 12)
  }

  // Bits 12:10 and 6:2 of the half word are bits 8, 4:3 and 7:6, 2:1, 5 of the offset.
  private static func branchOffset(_ half: UInt32) -> UInt64 {
    let high = bits(half, 12, 1, to: 8) | bits(half, 10, 2, to: 3) | bits(half, 5, 2, to: 6)
    let low = bits(half, 3, 2, to: 1) | bits(half, 2, 1, to: 5)
    return signExtended(high | low, from: 9)
  }
}
