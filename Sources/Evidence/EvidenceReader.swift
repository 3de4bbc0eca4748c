public import IOMMUModel
public import Investigation

/// Turns texts into evidence: what somebody pasted, logged or wrote down.
///
/// A text may be anything. What looks like evidence and cannot be read is told; nothing is guessed, and prose is no evidence.
public struct EvidenceReader: Sendable {
  private let profiles: [any DriverProfile]

  /// A reader that knows the drivers and devices of `profiles`.
  public init(profiles: [any DriverProfile]) { self.profiles = profiles }

  /// Reads a text that is called `name`, without the lines of these numbers; as far as it gets before `progress` stops it.
  public func read(
    _ bytes: [UInt8], name: String, leavingOut followed: [ClosedRange<Int>] = [], progress: WorkProgress? = nil
  ) -> Extraction {
    var pass = Pass(TextLines(bytes, leavingOut: followed, progress: progress), name: name, profiles: profiles)
    if let capture = pass.capture(bytes) { pass.take(capture) } else { pass.run() }
    return Extraction(
      name: name, lineCount: pass.text.count,
      findings: pass.findings.sorted { $0.lines.lowerBound < $1.lines.lowerBound },
      refusals: pass.refusals.sorted { $0.lines.lowerBound < $1.lines.lowerBound }, noise: pass.countedNoise(),
      fingerprint: bytes.withUnsafeBufferPointer {
        $0.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
      })
  }
}

/// One text being read.
private struct Pass {
  let text: TextLines
  let name: String
  let profiles: [any DriverProfile]
  let calls: CallReader
  let translations: TranslationReader
  let readers: [any LineReader]
  let devices: [any DeviceModel]
  /// The functions of drivers and devices that evidence is about.
  let functions: [String]

  var findings: [Finding] = []
  var refusals: [Refusal] = []
  /// By line: what it is if nothing was read from it.
  private var kinds: [Noise]

  /// The last backtrace, until it is certain that the next is of another stop.
  private var waiting: Backtrace?

  init(_ text: TextLines, name: String, profiles: [any DriverProfile]) {
    (self.text, self.name) = (text, name)
    kinds = (0..<text.count).map { text.isLeftOut($0) ? .followed : .blank }
    var devices: [any DeviceModel] = []
    for profile in profiles where !devices.contains(where: { $0.name == profile.device.name }) {
      devices.append(profile.device)
    }
    self.devices = devices
    self.profiles = profiles
    calls = CallReader(profiles: profiles)
    translations = TranslationReader(devices: devices)
    functions = Array(translations.functions.union(profiles.flatMap { $0.functions.map(\.symbol) })).sorted()
    readers = [
      TraceReader(name: name), DeviceTraceReader(name: name, devices: devices), TranslationLogReader(devices: devices),
      EntryReader(),
      TableReader(name: name, profiles: profiles), RegisterReader(devices: devices), StateReader(devices: devices),
      TypedTableReader(name: name, profiles: profiles), TypedStateReader(devices: devices), KernelStateReader(),
      ValueReader(), ConfigurationReader(),
      SourceIndexReader(name: name), LogReader(name: name),
    ]
  }

  mutating func run() {
    var index = 0
    var steps = 0
    while index < text.count {
      // Readings are of any number of lines: not every line's number comes up.
      if steps & 1023 == 0, text.isStopped(at: index & ~1023) { break }
      steps += 1
      let line = text[index]
      if line.isBlank {
        index += 1
      } else if let trace = Backtrace(at: index, in: text) {
        take(trace)
        let end = max(index + 1, trace.lines.upperBound)
        mark(index..<end, .transcript)
        index = end
      } else if let reading = reading(at: index) {
        for finding in reading.findings { add(finding) }
        refusals += reading.refusals
        let end = max(index + 1, reading.end)
        mark(index..<end, reading.noise)
        index = end
      } else {
        classify(index)
        index += 1
      }
    }
    settle()
  }

  // MARK: Files that are one piece

  /// Captured tables; nil when the text is something else.
  func capture(_ bytes: [UInt8]) -> CaptureReader.Result? {
    CaptureReader(devices: devices, profiles: profiles).read(bytes, name: name)
  }

  /// Takes the whole text as one piece of evidence.
  mutating func take(_ capture: CaptureReader.Result) {
    let lines = 1...max(1, text.count)
    switch capture {
    case .pages(let pages): findings.append(Finding(lines: lines, evidence: .pages(pages)))
    case .notes(let notes, let device):
      findings.append(Finding(lines: lines, evidence: .capture(notes), device: device))
    case .refused(let reason): refusals.append(Refusal(lines: lines, reason: reason))
    }
  }

  // MARK: Lines

  /// Adds what was read, unless it only repeats or completes what was read before it.
  private mutating func add(_ finding: Finding) {
    switch (findings.last?.evidence, finding.evidence) {
    case (.registers(let last)?, .registers(let values))
    where follows(finding) && values.byOffset.allSatisfy { last.byOffset[$0.key] == $0.value }:
      // Printed once more, or in part.
      extend(to: finding, last: .registers(last))
    case (.translations(let last)?, .translations(let runs)):
      if let answered = EntryReader.answered(last, by: runs), follows(finding) {
        extend(to: finding, last: .translations(answered))
      } else {
        findings.append(finding)
      }
    case (_, .release) where findings.contains(where: { $0.evidence.tellsKernel }): break
    default: findings.append(finding)
    }
  }

  /// Lines between a translation and the print of its answer, or between two prints of one state.
  private static let reach = 32

  private func follows(_ finding: Finding) -> Bool {
    guard let last = findings.last else { return false }
    return finding.lines.lowerBound <= last.lines.upperBound + Self.reach
  }

  private mutating func extend(to finding: Finding, last evidence: Evidence) {
    guard let last = findings.popLast() else { return }
    let end = max(last.lines.upperBound, finding.lines.upperBound)
    findings.append(
      Finding(
        lines: last.lines.lowerBound...end, evidence: evidence, remarks: last.remarks,
        device: last.device ?? finding.device))
  }

  private func reading(at index: Int) -> Reading? {
    for reader in readers { if let reading = reader.read(at: index, of: text) { return reading } }
    return nil
  }

  private mutating func mark(_ lines: Range<Int>, _ kind: Noise) {
    for line in lines.clamped(to: kinds.indices) where !text[line].isBlank { kinds[line] = kind }
  }

  /// How many lines nothing was read from, by kind; each line counts once.
  func countedNoise() -> [Noise: Int] {
    var isTold = Array(repeating: false, count: kinds.count)
    for lines in findings.map(\.lines) + refusals.map(\.lines) {
      for line in (lines.lowerBound - 1..<lines.upperBound).clamped(to: isTold.indices) { isTold[line] = true }
    }
    return zip(isTold, kinds).reduce(into: [:]) { counts, line in
      if !line.0 { counts[line.1, default: 0] += 1 }
    }
  }

  /// A line that no reader takes.
  private mutating func classify(_ index: Int) {
    let line = text[index]
    if Self.resumes(line) { settle() }
    if let reason = suspicion(line) {
      refusals.append(Refusal(lines: text.numbers(index..<index + 1), reason: reason))
    } else if line.trimmed.count <= 4, line.trimmed.allSatisfy(\.isDigit) {
      mark(index..<index + 1, .numbers)
    } else if line.hasPrefix("(gdb) ") || line.hasPrefix("(qemu) ") || ValueReader.answer(line) != nil {
      mark(index..<index + 1, .transcript)
    } else {
      mark(index..<index + 1, .other)
    }
  }

  /// Why a line looks like evidence that is broken; nil when it does not.
  private func suspicion(_ line: ArraySlice<UInt8>) -> String? {
    let line = line.prefix(4096)
    if let (_, rest) = Frame.start(line), rest.hasPrefix("0x") || rest.contains(word: "=") && rest.contains(0x28) {
      return "It looks like a frame of a backtrace, but not one that GDB prints."
    }
    // GDB's list of threads repeats what the backtrace says.
    guard !line.contains(word: "Thread ") else { return nil }
    for function in functions {
      var scanner = Scanner(line)
      if scanner.skip(past: function), scanner.isAtWordEnd,
        ["iova=", "addr=", "addr "].contains(where: { Self.hasWord($0, in: scanner.rest) }),
        scanner.rest.contains(where: \.isDigit)
      {
        return "It names \(function) with arguments, but neither as a frame nor as a print that is known here."
      }
    }
    return nil
  }

  /// Whether `word` stands in `text` as the start of a word: `addr=` does not in `translated_addr=`.
  private static func hasWord(_ word: String, in text: ArraySlice<UInt8>) -> Bool {
    var scanner = Scanner(text)
    while let found = scanner.rest.position(of: word), scanner.skip(past: word) {
      if found == text.startIndex || !text[found - 1].isIdentifier { return true }
    }
    return false
  }

  // MARK: Backtraces

  /// Whether the program runs on here, so that an equal backtrace after it is of another stop.
  private static func resumes(_ line: ArraySlice<UInt8>) -> Bool {
    if line.hasPrefix("Continuing.") || line.hasPrefix("# ====") { return true }
    guard line.hasPrefix("(gdb) ") else { return false }
    let command = line.dropFirst(6).prefix { $0.isIdentifier }.text
    return [
      "c", "continue", "fin", "finish", "n", "next", "s", "step", "si", "stepi", "ni", "nexti", "until", "run", "r",
    ]
    .contains(command)
  }

  private mutating func take(_ trace: Backtrace) {
    guard let last = waiting else {
      waiting = trace
      return
    }
    if last.isSameStop(as: trace) {
      // The same stop printed again, often in full: the longer one tells more.
      if trace.frames.count > last.frames.count { waiting = trace }
    } else {
      settle()
      waiting = trace
    }
  }

  private mutating func settle() {
    guard let trace = waiting else { return }
    waiting = nil
    let lines = text.numbers(trace.lines)
    func refuse(_ reason: String) { refusals.append(Refusal(lines: lines, reason: reason)) }
    let origin = "\(name):\(lines.lowerBound)"
    if let result = calls.read(trace, origin: origin) {
      switch result {
      case .call(let call, let profile, let remarks):
        findings.append(Finding(lines: lines, evidence: .call(call, profile: profile), remarks: remarks))
      case .refused(let reason): refuse(reason)
      }
    } else if let result = translations.read(trace) {
      switch result {
      case .translation(let translation, let device):
        findings.append(Finding(lines: lines, evidence: .translations([translation]), device: device))
      case .refused(let reason): refuse(reason)
      }
    } else if let result = CookieReader.read(trace, of: text) {
      switch result {
      case .request(let request): findings.append(Finding(lines: lines, evidence: .cookie(request)))
      case .refused(let reason): refuse(reason)
      }
    } else {
      findings.append(Finding(lines: lines, evidence: .otherBacktrace(trace.frames.map(\.function))))
    }
  }
}

extension Evidence {
  /// Whether it says which kernel it is.
  fileprivate var tellsKernel: Bool {
    switch self {
    case .release, .fact(name: Fact.banner, value: _): true
    default: false
    }
  }
}
