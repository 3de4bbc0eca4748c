public import PageTables

/// What a function reads through a pointer that a structure holds: which registers of its device a driver's function reads,
/// without reading any.
///
/// Every path through the function is followed, whatever its conditions; calls are taken for returning. Of the values only
/// those are kept that are constants, or the argument or the pointer plus a constant. So what is found is read on some path,
/// and what goes through a function that is called, or by an offset that is worked out, is not found.
public enum MemberReads {
  /// The most instructions that are looked at.
  static let instructionLimit = 4096

  /// The offsets, in order, of what `function` reads through the pointer at `member` of the structure that its argument
  /// `argument` (0 for the first) points to. `read` answers with exactly so many bytes of the guest's memory.
  public static func offsets(
    in function: KVA, argument: Int, member: UInt64, read: FunctionInterpreter.Reader
  ) -> [UInt64] {
    guard Register.arguments.indices.contains(argument) else { return [] }
    var start = Values()
    start[Register.arguments[argument]] = .structure(0)
    var known: [KVA: Values] = [function: start]
    var waiting = [function]
    var found: Set<UInt64> = []
    while let pc = waiting.popLast(), known.count <= instructionLimit {
      guard let values = known[pc], let bits = fetch(pc, read) else { continue }
      let step = Step(bits, at: pc, values, member: member)
      if let offset = step.read { found.insert(offset) }
      for next in step.next {
        // Where paths meet, only what holds on all of them is kept.
        let met = known[next]?.meeting(step.values) ?? step.values
        if met != known[next] {
          known[next] = met
          waiting.append(next)
        }
      }
    }
    return found.sorted()
  }

  private static func fetch(_ pc: KVA, _ read: FunctionInterpreter.Reader) -> UInt32? {
    func half(_ address: KVA) -> UInt32? {
      guard let bytes = try? read(address, 2), bytes.count == 2 else { return nil }
      return UInt32(bytes[0]) | UInt32(bytes[1]) << 8
    }
    guard pc.rawValue & 1 == 0, let low = half(pc) else { return nil }
    if Decoder.isCompressed(low) { return low }
    return half(pc + 2).map { low | $0 << 16 }
  }

  /// What is known of a register.
  private enum Value: Hashable {
    /// The structure's address and so many bytes.
    case structure(UInt64)
    /// The pointer in it and so many bytes.
    case pointer(UInt64)
    /// The same on every path.
    case constant(UInt64)

    /// What `operation` makes of two; nil where that is none of these.
    static func result(_ operation: Instruction.Operation, _ first: Value?, _ second: Value?) -> Value? {
      switch (operation, first, second) {
      case (_, .constant(let first), .constant(let second)): .constant(operation.result(first, second))
      case (.add, .structure(let offset), .constant(let distance)),
        (.add, .constant(let distance), .structure(let offset)):
        .structure(offset &+ distance)
      case (.add, .pointer(let offset), .constant(let distance)), (.add, .constant(let distance), .pointer(let offset)):
        .pointer(offset &+ distance)
      default: nil
      }
    }
  }

  /// What is known of all registers.
  private struct Values: Hashable {
    private var values = [Value?](repeating: nil, count: 32)

    subscript(_ register: Register) -> Value? {
      get { register == .zero ? .constant(0) : values[register.number] }
      set { if register != .zero { values[register.number] = newValue } }
    }

    func meeting(_ other: Values) -> Values {
      var met = self
      for number in values.indices where values[number] != other.values[number] { met.values[number] = nil }
      return met
    }

    /// Forgets what a called function need not keep (calling convention: ra, t0 to t6, a0 to a7).
    mutating func call() {
      for number in [1, 5, 6, 7] + Array(10...17) + Array(28...31) { values[number] = nil }
    }
  }

  /// One instruction's effect on what is known.
  private struct Step {
    var values: Values
    /// Where it goes on.
    var next: [KVA]
    /// What it reads through the pointer.
    var read: UInt64?

    init(_ bits: UInt32, at pc: KVA, _ values: Values, member: UInt64) {
      self.values = values
      let following = pc + (Decoder.isCompressed(bits) ? 2 : 4)
      next = [following]
      let instruction: Instruction
      do { instruction = try Decoder.decode(bits) } catch {
        switch error {
        // These have their result where all have it.
        case .atomic, .controlRegister: self.values[Register(bits >> 7)] = nil
        case .floatingPoint, .cacheBlock: break
        case .zero, .vector, .environmentCall, .breakpoint, .privileged, .unknown: next = []
        }
        return
      }
      switch instruction {
      case .loadUpper(let rd, let value): self.values[rd] = .constant(value)
      case .addUpperToPC(let rd, let value): self.values[rd] = .constant(pc.rawValue &+ value)
      case .immediate(let operation, let rd, let source, let second):
        self.values[rd] = .result(operation, values[source], .constant(second))
      case .register(let operation, let rd, let first, let second):
        self.values[rd] = .result(operation, values[first], values[second])
      case .load(let width, _, let rd, let base, let offset):
        self.values[rd] = nil
        switch Value.result(.add, values[base], .constant(offset)) {
        case .structure(member) where width == .double: self.values[rd] = .pointer(0)
        case .pointer(let place): read = place
        case .structure, .constant, nil: break
        }
      case .jump(.zero, let offset): next = [pc + offset]
      case .jumpRegister(.zero, _, _): next = []
      case .jump, .jumpRegister: self.values.call()
      case .branch(_, _, _, let offset): next = [following, pc + offset]
      case .store, .fence: break
      }
    }
  }
}
