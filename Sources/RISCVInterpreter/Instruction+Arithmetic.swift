extension Instruction.Condition {
  /// Whether the branch is taken.
  func holds(_ first: UInt64, _ second: UInt64) -> Bool {
    switch self {
    case .equal: first == second
    case .notEqual: first != second
    case .less: Int64(bitPattern: first) < Int64(bitPattern: second)
    case .greaterOrEqual: Int64(bitPattern: first) >= Int64(bitPattern: second)
    case .lessUnsigned: first < second
    case .greaterOrEqualUnsigned: first >= second
    }
  }
}

extension Instruction.Operation {
  /// The result in 64 bits; every pair of operands has one.
  func result(_ first: UInt64, _ second: UInt64) -> UInt64 {
    let signedFirst = Int64(bitPattern: first), signedSecond = Int64(bitPattern: second)
    let word = Int32(truncatingIfNeeded: first), secondWord = Int32(truncatingIfNeeded: second)
    switch self {
    case .add: return first &+ second
    case .sub: return first &- second
    case .sll: return first &<< second
    case .slt: return signedFirst < signedSecond ? 1 : 0
    case .sltu: return first < second ? 1 : 0
    case .xor: return first ^ second
    case .srl: return first &>> second
    case .sra: return UInt64(bitPattern: signedFirst &>> signedSecond)
    case .or: return first | second
    case .and: return first & second
    case .addw: return Self.extended(word &+ secondWord)
    case .subw: return Self.extended(word &- secondWord)
    case .sllw: return Self.extended(word &<< secondWord)
    case .srlw: return Self.extended(Int32(bitPattern: UInt32(bitPattern: word) &>> UInt32(bitPattern: secondWord)))
    case .sraw: return Self.extended(word &>> secondWord)
    case .mul: return first &* second
    case .mulh: return UInt64(bitPattern: signedFirst.multipliedFullWidth(by: signedSecond).high)
    case .mulhsu:
      // The signed operand is the unsigned one minus 2^64 where its sign is set.
      return first.multipliedFullWidth(by: second).high &- (signedFirst < 0 ? second : 0)
    case .mulhu: return first.multipliedFullWidth(by: second).high
    case .div: return UInt64(bitPattern: Self.quotient(signedFirst, signedSecond))
    case .divu: return Self.quotient(first, second)
    case .rem: return UInt64(bitPattern: Self.remainder(signedFirst, signedSecond))
    case .remu: return Self.remainder(first, second)
    case .mulw: return Self.extended(word &* secondWord)
    case .divw: return Self.extended(Self.quotient(word, secondWord))
    case .divuw:
      let quotient = Self.quotient(UInt32(bitPattern: word), UInt32(bitPattern: secondWord))
      return Self.extended(Int32(bitPattern: quotient))
    case .remw: return Self.extended(Self.remainder(word, secondWord))
    case .remuw:
      let remainder = Self.remainder(UInt32(bitPattern: word), UInt32(bitPattern: secondWord))
      return Self.extended(Int32(bitPattern: remainder))
    }
  }

  private static func extended(_ word: Int32) -> UInt64 { UInt64(bitPattern: Int64(word)) }

  // Unprivileged specification, "M" extension, "Division Operations": by zero, the quotient has all bits set and the
  // remainder is the dividend; where the quotient overflows, it is the dividend and the remainder is 0.
  private static func quotient<Number: FixedWidthInteger>(_ dividend: Number, _ divisor: Number) -> Number {
    divisor == 0 ? ~0 : dividend.dividedReportingOverflow(by: divisor).partialValue
  }

  private static func remainder<Number: FixedWidthInteger>(_ dividend: Number, _ divisor: Number) -> Number {
    divisor == 0 ? dividend : dividend.remainderReportingOverflow(dividingBy: divisor).partialValue
  }
}
