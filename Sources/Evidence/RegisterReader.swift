import IOMMUModel
import Investigation
import PageTables

/// Reads what QEMU's monitor printed of a device's registers: `000000002c000018: 0x0000000080b76000`, through GDB or not.
///
/// One text may hold several readings; a register that is read again starts the next.
struct RegisterReader: LineReader {
  /// The devices that are known.
  let devices: [any DeviceModel]

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let first = MemoryLine(text[start]) else { return nil }
    var collector = RegisterCollector()
    var refusals: [Refusal] = []
    var (index, end) = (start, start)
    var line: MemoryLine? = first
    while index < text.count {
      if let words = line {
        note(words, at: index, of: text, &collector, &refusals)
        end = index + 1
      } else if !Self.isBetween(text[index]) || index - end > 8 {
        break
      }
      index += 1
      line = MemoryLine(text[index])
    }
    let findings = collector.readings.map {
      Finding(lines: text.numbers($0.lines), evidence: .registers($0.values), device: $0.device)
    }
    return Reading(end: end, findings, refusals: refusals, noise: .transcript)
  }

  /// What may stand between two lines of a reading: the command, a remark.
  private static func isBetween(_ line: ArraySlice<UInt8>) -> Bool {
    line.isBlank || line.first == 0x23 || line.hasPrefix("(gdb) monitor xp") || line.hasPrefix("(qemu) xp")
      || line.hasPrefix("(gdb) monitor x/") || line.hasPrefix("(qemu) x/")
  }

  private func note(
    _ line: MemoryLine, at index: Int, of text: TextLines, _ collector: inout RegisterCollector,
    _ refusals: inout [Refusal]
  ) {
    // Narrower reads of memory are no tables.
    guard line.width == 8 || line.width == 4 else { return }
    var isMemory = false
    for (position, word) in line.words.enumerated() {
      let address = line.address + UInt64(truncatingIfNeeded: position &* line.width)
      let device = devices.first { device in device.usualRegisterBlock.map { address - $0 < Self.blockSize } ?? false }
      guard let device, let block = device.usualRegisterBlock else {
        isMemory = line.width == 8
        continue
      }
      for (offset, value) in Self.registers(of: device, in: word, at: address - block, width: line.width) {
        collector.note(offset, value, line: index, of: device.name)
      }
    }
    guard isMemory else { return }
    let number = text.number(index)
    let reason = "Words at \(line.address)" + Self.unknownWords
    if let last = refusals.last, last.lines.upperBound >= number - 4, last.reason.hasSuffix(Self.unknownWords) {
      refusals[refusals.count - 1] = Refusal(lines: last.lines.lowerBound...number, reason: last.reason)
    } else {
      refusals.append(Refusal(lines: number...number, reason: reason))
    }
  }

  /// The registers that a word tells: one as wide as it, or two of half its size. A register that is read in halves may
  /// answer anything.
  private static func registers(
    of device: any DeviceModel, in word: UInt64, at offset: UInt64, width: Int
  ) -> [(offset: UInt64, value: UInt64)] {
    device.registers.compactMap { register in
      let distance = register.offset &- offset
      guard register.size == width ? distance == 0 : register.size == 4 && distance & ~4 == 0 else { return nil }
      return (register.offset, register.size == 4 ? word >> (distance * 8) & 0xffff_ffff : word)
    }
  }

  private static let unknownWords =
    " are no registers of a device known here, and tables are taken from memory itself, not word by word."

  /// Within it addresses are taken for registers or their aliases, not for memory.
  private static let blockSize: UInt64 = 0x2_0000
}

/// `000000002c000018: 0x0000000080b76000 0x…`, or why there are no words.
private struct MemoryLine {
  let address: GPA
  let words: [UInt64]
  /// The words' size in bytes; 8 for a line without words.
  let width: Int

  init?(_ line: ArraySlice<UInt8>) {
    var scanner = Scanner(line.prefix(256))
    let digits = scanner.take(while: \.isHexDigit)
    guard digits.count == 16, let address = UInt64(digits.text, radix: 16), scanner.take(":") else { return nil }
    self.address = GPA(address)
    scanner.skipSpaces()
    if scanner.rest.hasPrefix("Cannot access memory") {
      (words, width) = ([], 8)
      return
    }
    var words: [UInt64] = []
    var width = 0
    while scanner.take("0x") {
      let digits = scanner.take(while: \.isHexDigit)
      guard let word = UInt64(digits.text, radix: 16) else { return nil }
      words.append(word)
      width = digits.count / 2
      scanner.skipSpaces()
    }
    guard !words.isEmpty, scanner.isAtEnd else { return nil }
    (self.words, self.width) = (words, width)
  }
}

/// Sorts register values into readings.
struct RegisterCollector {
  /// A reading and the lines it stands in, by index.
  private(set) var readings: [(lines: Range<Int>, values: RegisterValues, device: String)] = []

  /// Adds a value of `device`; one that the last reading has already, or of another device, starts another.
  mutating func note(_ offset: UInt64, _ value: UInt64, line: Int, of device: String) {
    if readings.last.map({ $0.values[offset] != nil || $0.device != device }) ?? true {
      readings.append((line..<line + 1, RegisterValues(), device))
    }
    let last = readings.count - 1
    readings[last].values.byOffset[offset] = value
    readings[last].lines = readings[last].lines.lowerBound..<line + 1
  }
}

/// Reads the state of a device's implementation as GDB prints it: a structure, or its members one by one.
struct StateReader: LineReader {
  /// The devices that are known.
  let devices: [any DeviceModel]

  /// Lines that members one by one may take.
  private static let longest = 64
  /// Members that a structure must have to be taken for a device's state.
  private static let least = 3

  func read(at start: Int, of text: TextLines) -> Reading? {
    for device in devices where !device.stateMembers.isEmpty {
      if let reading = structure(at: start, of: text, device) ?? members(at: start, of: text, device) { return reading }
    }
    return nil
  }

  /// A structure in one line (`{…, dtbase = 0x80b76000, rsiddiv = 0x8, …}`), or with one member a line.
  private func structure(at start: Int, of text: TextLines, _ device: any DeviceModel) -> Reading? {
    var state = Self.members(text[start], of: device)
    guard !state.isEmpty else { return nil }
    var end = start + 1
    while true {
      let more = Self.members(text[end], of: device)
      if more.isEmpty || !Set(more.keys).isDisjoint(with: state.keys) { break }
      state.merge(more) { first, _ in first }
      end += 1
    }
    guard state.count >= Self.least else { return nil }
    return Reading(
      end: end, Self.findings(device, state, text.numbers(start..<end)), noise: .transcript)
  }

  /// The members in a line, by name.
  private static func members(_ line: ArraySlice<UInt8>, of device: any DeviceModel) -> [String: UInt64] {
    guard line.contains(word: " = ") else { return [:] }
    var state: [String: UInt64] = [:]
    for member in device.stateMembers {
      var scanner = Scanner(line)
      while state[member] == nil, let found = scanner.rest.position(of: "\(member) = ") {
        // `enable` is also the end of `irq_enable`.
        let isWhole = found == line.startIndex || !line[found - 1].isIdentifier
        guard scanner.skip(past: "\(member) = ") else { break }
        if isWhole { state[member] = value(&scanner) }
      }
    }
    return state
  }

  /// A number or a truth value.
  private static func value(_ scanner: inout Scanner) -> UInt64? {
    if let number = scanner.number() { return number }
    switch scanner.identifier() {
    case "true": return 1
    case "false": return 0
    default: return nil
    }
  }

  /// `(gdb) p/x …->dtbase`, then `$43 = 0x80b76000`, member after member.
  private func members(at start: Int, of text: TextLines, _ device: any DeviceModel) -> Reading? {
    var state: [String: UInt64] = [:]
    var index = start
    // A member that was printed by its name may be asked for once more as a number.
    while let member = Self.asked(text[index], of: device), state[member] == nil,
      let answer = ValueReader.answer(text[index + 1]), index - start < Self.longest
    {
      var scanner = Scanner(answer)
      state[member] = Self.value(&scanner)
      index += 2
    }
    guard index > start, state.count >= Self.least else { return nil }
    return Reading(
      end: min(index, text.count),
      Self.findings(device, state, text.numbers(start..<min(index, text.count))),
      noise: .transcript)
  }

  private static func asked(_ line: ArraySlice<UInt8>, of device: any DeviceModel) -> String? {
    guard line.hasPrefix("(gdb) p"), line.contains(word: "->") else { return nil }
    let name = line.trimmed.reversed().prefix { $0.isIdentifier }.reversed()[...].text
    return device.stateMembers.contains(name) ? name : nil
  }

  private static func findings(
    _ device: any DeviceModel, _ state: [String: UInt64], _ lines: ClosedRange<Int>
  ) -> [Finding] {
    let values = device.registers(state: state)
    return values.byOffset.isEmpty
      ? [] : [Finding(lines: lines, evidence: .registers(values), device: device.name)]
  }
}

/// Reads the CPU's `satp`, as GDB or QEMU's monitor print it.
struct ValueReader: LineReader {
  func read(at start: Int, of text: TextLines) -> Reading? {
    let line = text[start].prefix(256)
    var scanner = Scanner(line)
    scanner.skipSpaces()
    if scanner.take("satp") || scanner.take("$satp"), scanner.next?.isIdentifier == false {
      _ = scanner.take { $0.isSpace || $0 == 0x3d || $0 == 0x3a }
      let digits = scanner.rest.prefix { $0.isHexDigit || $0 == 0x78 }
      let value =
        digits.hasPrefix("0x") ? wholeNumber(digits) : digits.count == 16 ? UInt64(digits.text, radix: 16) : nil
      return value.flatMap { Self.finding($0, start..<start + 1, text) }
    }
    guard line.hasPrefix("(gdb) p"), line.trimmed.hasSuffix(" $satp") else { return nil }
    guard let answer = Self.answer(text[start + 1]), let value = wholeNumber(answer) else {
      return Reading(refusing: start..<start + 1, "It asks for `$satp`, but no value follows.", in: text)
    }
    return Self.finding(value, start..<start + 2, text)
  }

  /// What stands behind `$43 = `.
  static func answer(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    var scanner = Scanner(line)
    guard scanner.take("$"), !scanner.take(while: \.isDigit).isEmpty, scanner.take(" = ") else { return nil }
    return scanner.rest.trimmed
  }

  /// The value as a fact; before the CPU has switched its page table on it tells nothing.
  private static func finding(_ value: UInt64, _ lines: Range<Int>, _ text: TextLines) -> Reading? {
    guard KernelPaging(satp: value).mode != nil else { return Reading(end: lines.upperBound, [], noise: .transcript) }
    return Reading(
      end: lines.upperBound,
      [Finding(lines: text.numbers(lines), evidence: .fact(name: Fact.satp, value: hex(value)))])
  }
}
