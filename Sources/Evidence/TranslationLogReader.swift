import IOMMUModel
import Investigation
import PageTables

/// Reads prints of a device's translate function, one line a translation: `xmmuv1_translate addr 4294963200`.
struct TranslationLogReader: LineReader {
  /// The devices that are known.
  let devices: [any DeviceModel]

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard
      let device = devices.first(where: { $0.translateFunction.map(text[start].contains(word:)) ?? false }),
      let function = device.translateFunction
    else { return nil }
    guard let first = Self.translation(text[start], function: function) else { return nil }
    var runs = TranslationRuns()
    runs.add(first)
    var end = start + 1
    while let next = Self.translation(text[end], function: function) {
      runs.add(next)
      end += 1
    }
    return Reading(
      end: end,
      [Finding(lines: text.numbers(start..<end), evidence: .translations(runs.all), device: device.name)])
  }

  private static func translation(_ line: ArraySlice<UInt8>, function: String) -> RecordedTranslation? {
    var scanner = Scanner(line)
    guard scanner.skip(past: function), scanner.isAtWordEnd, let address = value(of: ["addr", "iova"], &scanner) else {
      return nil
    }
    var access: Access?
    var flags = scanner
    _ = flags.take(",")
    if let flag = value(of: ["flag", "flags", "perm"], &flags) { access = UInt8(exactly: flag).flatMap(Access.init) }
    return RecordedTranslation(requester: nil, iova: IOVA(address), access: access, answer: nil)
  }

  /// The number after one of `names`: `addr 42`, `addr: 0x2a`, `addr=42`.
  private static func value(of names: [String], _ scanner: inout Scanner) -> UInt64? {
    _ = scanner.take { $0.isSpace || $0 == 0x3a || $0 == 0x28 }
    guard let name = scanner.identifier(), names.contains(name) else { return nil }
    _ = scanner.take { $0.isSpace || $0 == 0x3a || $0 == 0x3d }
    return scanner.number()
  }
}

/// Puts translations that follow each other in equal steps together.
struct TranslationRuns {
  /// The runs so far.
  private(set) var all: [RecordedTranslation] = []

  /// The longest step within one access: QEMU splits an access at most into pieces of this many bytes.
  private static let longestStep: UInt64 = 64

  /// Adds the translation that came next.
  mutating func add(_ translation: RecordedTranslation) {
    guard let last = all.last, let step = Self.step(from: last, to: translation) else {
      all.append(translation)
      return
    }
    all[all.count - 1].count = last.count &+ 1
    all[all.count - 1].stride = step
  }

  /// The step that makes `next` part of the run; nil when it is not.
  private static func step(from run: RecordedTranslation, to next: RecordedTranslation) -> UInt64? {
    let step = next.iova - run.last
    guard step.nonzeroBitCount == 1, step <= longestStep, run.count == 1 || step == run.stride,
      run.access == next.access, run.asker == next.asker, run.requester == next.requester
    else { return nil }
    switch (run.answer, next.answer) {
    case (nil, nil): return step
    case (let mine?, let theirs?) where mine.access == .none && theirs.access == .none:
      return mine.mask == theirs.mask ? step : nil
    case (let mine?, let theirs?):
      let distance = next.iova - run.iova
      return mine.mask == theirs.mask && mine.access == theirs.access && theirs.address - mine.address == distance
        ? step : nil
    default: return nil
    }
  }
}

/// Reads what a translate function returned, as GDB prints QEMU's `IOMMUTLBEntry`: `{target_as = 0x…, iova = 4294963200,
/// translated_addr = 4294963200, addr_mask = 0, perm = IOMMU_NONE}`.
struct EntryReader: LineReader {
  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let translation = Self.translation(text[start]) else { return nil }
    return Reading(
      end: start + 1, [Finding(lines: text.numbers(start..<start + 1), evidence: .translations([translation]))])
  }

  private static func translation(_ line: ArraySlice<UInt8>) -> RecordedTranslation? {
    guard line.contains(word: "addr_mask = "), let iova = value("{iova = ", line) ?? value(" iova = ", line),
      let target = value("translated_addr = ", line), let mask = value("addr_mask = ", line)
    else { return nil }
    var scanner = Scanner(line)
    guard scanner.skip(past: "perm = ") else { return nil }
    let perm = scanner.number().map(Frame.Value.number) ?? scanner.identifier().map(Frame.Value.name)
    guard let access = TranslationReader.access(perm) else { return nil }
    return RecordedTranslation(
      requester: nil, iova: IOVA(iova), access: nil,
      answer: RecordedTranslation.Answer(address: GPA(target), mask: mask, access: access))
  }

  private static func value(_ name: String, _ line: ArraySlice<UInt8>) -> UInt64? {
    var scanner = Scanner(line)
    return scanner.skip(past: name) ? scanner.number() : nil
  }

  /// A translation without an answer together with the answer for its address; nil when `runs` is something else. An answer
  /// that was printed twice is one.
  static func answered(_ last: [RecordedTranslation], by runs: [RecordedTranslation]) -> [RecordedTranslation]? {
    guard last.count == 1, runs.count == 1, let asked = last.first, let told = runs.first, asked.count == 1,
      told.count == 1, told.access == nil, asked.iova == told.iova, let answer = told.answer
    else { return nil }
    if let known = asked.answer { return known == answer ? last : nil }
    return [
      RecordedTranslation(
        requester: asked.requester, iova: asked.iova, access: asked.access, answer: answer, before: asked.before,
        after: asked.after, asker: asked.asker)
    ]
  }
}
