internal import CPython
internal import Evidence
internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

/// What Python's `Investigation` holds: an investigation's file, without a debugger.
final class OfflineInvestigation: CustomStringConvertible {
  let path: String
  private var state: State

  private enum State {
    case notMade
    case open(InvestigationStore)
    case closed
  }

  /// How its sessions are named in the file.
  private static let side = "python"

  /// The investigation in the file at `path`. Where there is none, the first evidence makes it, so that looking at a
  /// misspelt name leaves nothing behind.
  init(path: String) throws(InvestigationError) {
    self.path = path
    state =
      InvestigationStore.exists(at: path)
      ? .open(try InvestigationStore(existing: path, side: Self.side)) : .notMade
  }

  var description: String {
    switch state {
    case .notMade: "<Investigation \(path), not made yet>"
    case .open: "<Investigation \(path)>"
    case .closed: "<Investigation \(path), closed>"
    }
  }

  /// Lets the file go.
  func close() { state = .closed }

  /// What was closed stays closed.
  func refuseClosed() throws(InvestigationError) {
    if case .closed = state { throw InvestigationError("The investigation \(path) is closed.") }
  }

  /// The file; an error rather than a new one when there is none.
  func store() throws(InvestigationError) -> InvestigationStore {
    try refuseClosed()
    if case .open(let store) = state { return store }
    // Another process may have made it meanwhile.
    let store = try InvestigationStore(existing: path, side: Self.side)
    state = .open(store)
    return store
  }

  /// The file, made when there is none.
  func madeStore() throws(InvestigationError) -> InvestigationStore {
    if case .notMade = state { state = .open(try InvestigationStore(path: path, side: Self.side)) }
    return try store()
  }

  /// What follows from everything in the file.
  func findings() throws -> Findings {
    try Wait.forAll { try Findings(offline: store(), tenants: tenants, progress: $0) }
  }
}

let investigationConstructor: CFunction = {
  constructor(
    $0, $1, $2, "Investigation(path)",
    """
    An investigation's file, `*.iommulens`, outside a debugger; also as a context manager.

    Where there is no such file, import_texts() makes it. Everything else then raises InvestigationError, as every method
    does after close(). What other processes add meanwhile is seen.
    """
  ) { arguments in
    let path = try arguments.path("path")
    return try Wait.forFile { try OfflineInvestigation(path: path) }
  }
}

/// A method of `Investigation`.
private func investigation(
  _ instance: BorrowedObject?, _ positional: BorrowedObject?, _ keywords: BorrowedObject?,
  _ signature: StaticString, _ documentation: StaticString,
  body: (OfflineInvestigation, Arguments) throws -> PythonValue
) -> BorrowedObject? {
  method(instance, positional, keywords, signature, documentation) { investigation, arguments in
    try Wait.forFile { try body(investigation, arguments) }
  }
}

var investigationMethods: [CFunction] {
  [
    { instance, positional, keywords in
      investigation(instance, positional, keywords, "__enter__()", "The investigation itself.") { investigation, _ in
        try investigation.refuseClosed()
        return instance.map { .object(PythonReference(borrowing: $0)) } ?? nil
      }
    },
    {
      investigation($0, $1, $2, "__exit__(type, value, traceback)", "Closes the investigation.") { investigation, _ in
        investigation.close()
        return nil
      }
    },
    {
      investigation(
        $0, $1, $2, "close()", "Lets the file go; every other method raises InvestigationError from then on."
      ) { investigation, _ in
        investigation.close()
        return nil
      }
    },
    {
      investigation(
        $0, $1, $2, "import_texts(paths)",
        """
        Takes in evidence from text files; returns what was read and what was not.

        Texts of one call are taken together, as `iommulens import` does. A text that is known already adds nothing.
        """
      ) { investigation, arguments in
        let paths = try arguments.pathList("paths")
        try investigation.refuseClosed()
        return .string(
          try Wait.forAll { progress in
            try Terminal.imported(paths, tenants: tenants, progress: progress, into: investigation.madeStore)
          })
      }
    },
    {
      investigation(
        $0, $1, $2, "check(iova=None, all=False)",
        "Compares recorded calls, tables and device, for one IOVA or for all: the worst 20 groups of ranges, or `all`."
      ) { investigation, arguments in
        let iova = try arguments.optionalUInt64("iova").map { IOVA($0) }
        let all = try arguments.optionalBool("all") ?? false
        let findings = try investigation.findings()
        return .string(
          Terminal.check(of: findings, in: iova.map { $0...$0 }, limit: all ? nil : Terminal.worstRanges))
      }
    },
    {
      investigation($0, $1, $2, "diagnose()", "The hypotheses that explain what disagrees, best first, as text.") {
        investigation, _ in .string(Terminal.diagnosis(of: try investigation.findings()))
      }
    },
    {
      investigation($0, $1, $2, "hypotheses()", "The hypotheses that explain what disagrees, best first, as data.") {
        investigation, _ in
        .list(
          try investigation.findings().diagnosis.hypotheses.enumerated().map { position, hypothesis in
            hypothesis.python(place: position + 1)
          })
      }
    },
    {
      investigation(
        $0, $1, $2, "timeline(first=None, last=None, count=None)",
        "What was recorded on all sides, in order; about the IOVAs `first` to `last` only, at most `count` entries at the end."
      ) { investigation, arguments in
        let iovas = try arguments.iovas()
        let count = try arguments.entryCount()
        let store = try investigation.store()
        var text = ""
        try Wait.forAll { progress in
          try Terminal.timeline(of: store, iovas: iovas, last: count, tenants: tenants, progress: progress) {
            text += $0
          }
        }
        return .string(text)
      }
    },
    {
      investigation($0, $1, $2, "markdown()", "The investigation as Markdown.") { investigation, _ in
        .string(try Report(investigation.findings(), store: investigation.store()).markdown())
      }
    },
    {
      investigation(
        $0, $1, $2, "export(path, template=None, events=None, picture=None)",
        """
        Writes the investigation to a file that ends in .md, .json, .csv or .svg.

        `template` is a file, for Markdown; `events` is "calls", "translations", "registers", "log" or "verifications", for
        CSV; `picture` is "map" or "walk", for SVG. An older file is replaced when the new one is complete.
        """
      ) { investigation, arguments in
        let export = try arguments.export()
        let (findings, store) = (try investigation.findings(), try investigation.store())
        try Wait.forAll { try export.write(findings, of: store, progress: $0) }
        return nil
      }
    },
    {
      investigation(
        $0, $1, $2, "calls()", "The driver's map and unmap calls in the order in which they were recorded, as data."
      ) { investigation, _ in
        let store = try investigation.store()
        return try Wait.forAll { progress in
          let verifications = try store.verifications(progress: progress)
          return .list(
            try store.calls(progress: progress).map { call in call.python(call.id.flatMap { verifications[$0] }) })
        }
      }
    },
    {
      investigation(
        $0, $1, $2, "translations()",
        "What the device was seen to translate, in the order in which it was recorded, as data."
      ) { investigation, _ in
        let store = try investigation.store()
        let device = try Terminal.vocabulary(of: store, tenants: tenants).device
        return .list(try Wait.forAll { try store.translations(progress: $0) }.map { $0.python(device: device) })
      }
    },
  ]
}

extension Diagnosis.Hypothesis {
  /// The hypothesis as a dict; `place` is 1 for the best.
  fileprivate func python(place: Int) -> PythonValue {
    [
      "place": .init(place), "title": .init(title), "explained": .init(support.explained),
      "total": .init(support.total), "unit": .init(support.unit), "evidence": .init(evidence),
      "against": .init(counterEvidence), "effects": .init(effects), "remedy": .init(remedy),
      "open_question": .init(openQuestion),
    ]
  }
}

extension RecordedCall {
  /// The call as a dict, with what was found right after it.
  fileprivate func python(_ verification: Verification?) -> PythonValue {
    var allocation: AllocationFlags?
    if case .map(_, _, let flags) = call.operation { allocation = flags }
    return [
      "event": .init(id.map { Int($0.rawValue) }), "kind": .init(call.kind.rawValue), "number": .init(number),
      "function": .init(call.function), "domain": .init(call.domain), "iova": .init(call.iova),
      "length": .init(call.length), "page_size": .init(call.pages?.size), "page_count": .init(call.pages?.count),
      "target": .init(call.target), "prot": .init(call.protection?.rawValue), "gfp": .init(allocation?.rawValue),
      "requester": .init(requester?.description), "root": .init(root?.address), "mode": .init(root?.mode.rawValue),
      "callers": .init(callers), "origin": .init(origin), "verdict": .init(verification?.verdict.name),
      "finding": .init(verification?.verdict.description),
      "pages_checked": .init(verification?.leaves), "pages_right": .init(verification?.agreeing),
    ]
  }
}

extension RecordedTranslation {
  /// The translations as a dict; `device` names the registers.
  fileprivate func python(device: (any DeviceModel)?) -> PythonValue {
    [
      "event": .init(id.map { Int($0.rawValue) }), "requester": .init(requester?.description), "iova": .init(iova),
      "count": .init(count), "stride": .init(stride), "access": .init(access?.name),
      "target": .init(answer?.address), "mask": .init(answer?.mask), "permission": .init(answer?.access.name),
      "refused": .init(isRefused), "device": .init(asker?.device), "operation": .init(asker?.operation),
      "path": .init(asker?.path), "length": .init(asker?.length), "before": before.python(device: device),
      "after": after.python(device: device),
    ]
  }
}

extension Access {
  /// `none`, `read`, `write` or `read and write`.
  fileprivate var name: String { self == .none ? "none" : words }
}

extension RegisterValues {
  /// The values as a dict, by name where `device` knows one, else by offset.
  fileprivate func python(device: (any DeviceModel)?) -> PythonValue {
    .dictionary(
      byOffset.sorted { $0.key < $1.key }.map { offset, value in
        (device?.registers.first { $0.offset == offset }?.name ?? hex(offset), .init(value))
      })
  }
}
