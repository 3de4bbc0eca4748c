import IOMMUModel
import Investigation
import PageTables

/// Reads the trace that a device's implementation wrote of itself, in the words of its ``IOMMUModel/DeviceTrace``.
///
/// Translations that follow each other become runs; faults and invalidations become lines of a log, as they stand there,
/// with what they mean behind them. Their order is kept: it tells what a device knew when it was asked.
struct DeviceTraceReader: LineReader {
  /// The text's name.
  let name: String
  private let traces: [(trace: DeviceTrace, device: String)]

  init(name: String, devices: [any DeviceModel]) {
    self.name = name
    traces = devices.compactMap { device in device.trace.map { ($0, device.name) } }
  }

  /// Bytes that may stand before an event's name: the process and the time in QEMU's own log, an indentation.
  private static let lead = 64
  /// A trace line has a hundred.
  private static let length = 1024

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let own = traces.first(where: { Self.line(text[start], $0.trace) != nil }) else { return nil }
    var findings: [Finding] = []
    var refusals: [Refusal] = []
    var runs = TranslationRuns()
    var first = start
    var faulted: Set<RequesterID> = []
    func settle(_ end: Int) {
      if !runs.all.isEmpty {
        findings.append(
          Finding(lines: text.numbers(first..<end), evidence: .translations(runs.all), device: own.device))
      }
      runs = TranslationRuns()
    }
    func log(_ line: String, _ meaning: LogLine.Meaning, _ words: String, at index: Int) {
      settle(index)
      let told = LogLine(
        origin: name, line: text.number(index), time: nil, text: "\(line) (\(words))", meaning: meaning)
      findings.append(
        Finding(lines: text.numbers(index..<index + 1), evidence: .log(told), device: own.device))
    }
    var index = start
    while index < text.count, !text.isStopped(at: index), let line = Self.line(text[index], own.trace) {
      switch own.trace.read(line) {
      case .translation(let requester, let iova, let access, let target)?:
        if runs.all.isEmpty { first = index }
        runs.add(
          Self.translation(requester, iova, access, target, isRefused: faulted.remove(requester) != nil))
      case .fault(let requester, let cause, let iova)?:
        faulted.insert(requester)
        log(line, .deviceFault, "cause \(cause) of \(requester) at \(iova)", at: index)
      case .invalidation(let invalidation)?: log(line, .invalidation, invalidation.meaning, at: index)
      case .other?: settle(index)
      case nil:
        settle(index)
        refusals.append(
          Refusal(
            lines: text.numbers(index..<index + 1),
            reason: "It is a line of the trace of \(own.device), but not in a form known here."))
      }
      index += 1
    }
    settle(index)
    return Reading(end: index, findings, refusals: refusals, noise: .trace)
  }

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
