import IOMMUModel
import Investigation
import PageTables

/// The trace of one device being read, line by line, from a text that is whole or from one that grows.
///
/// Translations that follow each other become runs; faults and invalidations become lines of a log, as they stand there,
/// with what they mean behind them. Their order is kept: it tells what a device knew when it was asked.
struct DeviceTracePass {
  /// What was read and has not been taken away yet.
  private(set) var findings: [Finding] = []
  /// The lines of the trace that are in no form known here.
  private(set) var refusals: [Refusal] = []

  /// The text's name.
  private var name: String
  private let trace: DeviceTrace
  private let device: String
  /// Which translations are wanted.
  private let scope: TranslationWatch.Scope
  private var runs = TranslationRuns()
  /// The lines that `runs` was read from.
  private var lines: ClosedRange<Int>?
  /// Who has reported a fault, of which the translation is still to come.
  private var faulted: Set<RequesterID> = []

  /// A pass over the text `name`; nil when `device` writes no trace that is known. Translations outside `scope` are left out.
  init?(_ name: String, device: any DeviceModel, scope: TranslationWatch.Scope = TranslationWatch.Scope()) {
    guard let trace = device.trace else { return nil }
    (self.name, self.trace, self.device, self.scope) = (name, trace, device.name, scope)
  }

  /// Whether a line is of this device's trace.
  func reads(_ line: ArraySlice<UInt8>) -> Bool { Self.line(line, trace) != nil }

  /// Reads a line, which has this number; false for one that is none of the trace, with which nothing is done.
  mutating func take(_ bytes: ArraySlice<UInt8>, number: Int) -> Bool {
    guard let line = Self.line(bytes, trace) else { return false }
    switch trace.read(line) {
    case .translation(let requester, let iova, let access, let target)?:
      let isRefused = faulted.remove(requester) != nil
      guard scope.covers(iova, requester) else { break }
      lines = (lines?.lowerBound ?? number)...number
      runs.add(Self.translation(requester, iova, access, target, isRefused: isRefused))
    case .fault(let requester, let cause, let iova)?:
      faulted.insert(requester)
      log(line, .deviceFault, "cause \(cause) of \(requester) at \(iova)", number)
    case .invalidation(let invalidation)?: log(line, .invalidation, invalidation.meaning, number)
    case .other?: settle()
    case nil:
      settle()
      refusals.append(
        Refusal(
          lines: number...number, reason: "It is a line of the trace of \(device), but not in a form known here."))
    }
    return true
  }

  /// Ends the run that might go on: whatever comes next is of another one.
  mutating func settle() {
    if let lines { findings.append(Finding(lines: lines, evidence: .translations(runs.all), device: device)) }
    (runs, lines) = (TranslationRuns(), nil)
  }

  /// Ends the trace where another text begins.
  mutating func end() {
    settle()
    faulted = []
  }

  /// Goes on with the text `name`.
  mutating func begin(_ name: String) {
    end()
    self.name = name
  }

  /// What was read since this was asked last, but for the run that might go on.
  mutating func takeFindings() -> [Finding] {
    defer { findings = [] }
    return findings
  }

  private mutating func log(_ line: String, _ meaning: LogLine.Meaning, _ words: String, _ number: Int) {
    settle()
    let told = LogLine(origin: name, line: number, time: nil, text: "\(line) (\(words))", meaning: meaning)
    findings.append(Finding(lines: number...number, evidence: .log(told), device: device))
  }

  // MARK: Lines

  /// Bytes that may stand before an event's name: the process and the time in QEMU's own log, an indentation.
  private static let lead = 64
  /// A trace line has a hundred.
  static let length = 1024

  /// A line from the event's name on; nil when it is none of `trace`.
  private static func line(_ line: ArraySlice<UInt8>, _ trace: DeviceTrace) -> String? {
    guard let start = line.prefix(lead).position(of: trace.prefix),
      line[..<start].last?.isIdentifier != true, line.count <= length,
      line[start...].first(where: { !$0.isIdentifier })?.isSpace == true
    else { return nil }
    // A command line or a list of events names them too.
    return line[..<start].allSatisfy { $0.isSpace || $0.isDigit || [0x40, 0x2e, 0x3a].contains($0) }
      ? line[start...].text : nil
  }

  /// One translation. Without a target it was refused if a fault was reported just before; else its answer is not known.
  private static func translation(
    _ requester: RequesterID, _ iova: IOVA, _ access: Access, _ target: GPA?, isRefused: Bool
  ) -> RecordedTranslation {
    let page: UInt64 = 0xfff
    var answer: RecordedTranslation.Answer?
    if let target, access != .none {
      answer = RecordedTranslation.Answer(address: target, mask: page, access: access)
    } else if target == nil, isRefused {
      answer = RecordedTranslation.Answer(address: GPA(0), mask: page, access: .none)
    }
    return RecordedTranslation(requester: requester, iova: iova, access: access, answer: answer)
  }
}
