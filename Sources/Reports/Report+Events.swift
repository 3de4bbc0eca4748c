import IOMMUModel
import Investigation
import PageTables

/// The events of an investigation, a row each; of JSON the lists, of CSV the tables.
extension Report {
  /// Calls that a reader is shown, in the appendix.
  private static let shownCalls = 500

  /// The driver's calls, each with what was found right after it.
  var calls: ReportValue { .list(callRows) }

  var callRows: ReportList {
    let verifications = findings.verifications
    return ReportList(findings.calls, limit: Self.shownCalls) { recorded in
      let call = recorded.call
      let found = recorded.id.flatMap { verifications[$0] }
      var allocation: AllocationFlags?
      if case .map(_, _, let flags) = call.operation { allocation = flags }
      return .object([
        ("event", .number(recorded.id?.rawValue)), ("kind", .text(call.kind.rawValue)),
        ("number", .number(recorded.number)),
        ("function", .code(call.function)), ("domain", .bits(call.domain.rawValue)),
        ("iova", .bits(call.iova.rawValue)),
        ("length", .number(call.length)), ("page_size", .number(call.pages?.size)),
        ("page_count", .number(call.pages?.count)), ("extent", .text(call.extent)),
        ("target", .bits(call.target?.rawValue)), ("prot", .number(call.protection?.rawValue)),
        ("protection", .text(call.protection?.description)), ("gfp", .bits(allocation?.rawValue)),
        ("requester", .text(recorded.requester?.description)), ("root", .bits(recorded.root?.address.rawValue)),
        ("mode", .text(recorded.root?.mode.rawValue)), ("callers", .list(ReportList(recorded.callers) { .code($0) })),
        ("origin", .code(recorded.origin)), ("verdict", .text(found?.verdict.name)),
        ("finding", .text(found?.verdict.description)), ("pages_checked", .number(found?.leaves)),
        ("pages_right", .number(found?.agreeing)),
      ])
    }
  }

  /// What the device was seen to translate.
  var translations: ReportValue { .list(translationRows) }

  var translationRows: ReportList {
    let device = findings.profile.device
    return ReportList(findings.seen) { translation in
      .object([
        ("event", .number(translation.id?.rawValue)), ("requester", .text(translation.requester?.description)),
        ("iova", .bits(translation.iova.rawValue)), ("count", .number(translation.count)),
        ("stride", .number(translation.stride)), ("access", .text(translation.access?.words)),
        ("target", .bits(translation.answer?.address.rawValue)), ("mask", .bits(translation.answer?.mask)),
        ("permission", .text(translation.answer?.access.words)),
        ("refused", translation.isRefused.map { .flag($0) } ?? .nothing), ("device", .code(translation.asker?.device)),
        ("operation", .code(translation.asker?.operation)), ("path", .code(translation.asker?.path)),
        ("length", .number(translation.asker?.length)), ("before", Self.named(translation.before, device)),
        ("after", Self.named(translation.after, device)),
      ])
    }
  }

  private static func named(_ values: RegisterValues, _ device: any DeviceModel) -> ReportValue {
    .object(
      values.byOffset.sorted { $0.key < $1.key }.map { offset, value in
        (device.registers.first { $0.offset == offset }?.name ?? hex(offset), .bits(value))
      })
  }

  /// What was found right after calls.
  var verificationRows: ReportList {
    let calls = Dictionary(findings.calls.compactMap { call in call.id.map { ($0, call) } }) { first, _ in first }
    return ReportList(findings.verifications) { id, found in
      let call = calls[id]
      return .object([
        ("call", .number(id.rawValue)), ("kind", .text(call?.call.kind.rawValue)), ("number", .number(call?.number)),
        ("pages_checked", .number(found.leaves)), ("pages_right", .number(found.agreeing)),
        ("verdict", .text(found.verdict.name)), ("finding", .text(found.verdict.description)),
        ("iova", .bits(found.iova?.rawValue)),
        ("entry_iova", .bits(found.samples.first?.iova.rawValue)), ("entry_level", .number(found.samples.first?.level)),
        ("entry_found", .bits(found.samples.first?.found)), ("leaf_expected", .bits(found.samples.first?.expected)),
      ])
    }
  }

  /// The registers every time they were read.
  func registerRows() throws -> ReportList {
    let device = findings.profile.device
    let rows = try store.registerReadings().flatMap { reading in
      reading.values.byOffset.sorted { $0.key < $1.key }.map { (reading.id, $0.key, $0.value) }
    }
    return ReportList(rows) { id, offset, value in
      let register = device.registers.first { $0.offset == offset }
      return .object([
        ("event", .number(id.rawValue)), ("offset", .bits(offset)), ("name", .text(register?.name)),
        ("value", .bits(value)), ("meaning", .text(register?.meaning(value))),
      ])
    }
  }

  /// What logs say.
  var log: ReportValue { .list(logRows) }

  var logRows: ReportList {
    ReportList(findings.log) { line in
      .object([
        ("origin", .code(line.origin)), ("line", .number(line.line)), ("time_ns", .number(line.time)),
        ("time", line.time.map { .markup(Terminal.seconds(Int64(clamping: $0))) } ?? .nothing),
        ("text", .code(line.text)), ("tells", .text(line.meaning.rawValue)),
      ])
    }
  }

  /// What is known of the target, as it is in the file. Which texts were imported is known to the file alone.
  var facts: ReportValue {
    let facts = findings.facts.filter { !$0.key.hasPrefix(Fact.importedFile("")) }.sorted { $0.key < $1.key }
    return .list(ReportList(facts, limit: 100) { .object([("name", .code($0.key)), ("value", .code($0.value))]) })
  }
}
