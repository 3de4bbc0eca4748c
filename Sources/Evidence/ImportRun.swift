import IOMMUModel
import Investigation
import LinuxKernel
import PageTables

/// One import under way.
struct ImportRun {
  let store: InvestigationStore
  let profiles: [any DriverProfile]
  /// The texts, and what must be said about them.
  var texts: [EvidenceImport.Text]
  /// Facts that only keep the books: nobody asked for them, so they are not counted.
  private(set) var bookkeeping = 0
  /// Texts whose written-out tables are not those that are known already.
  private var strangers: Set<Int> = []

  /// The texts that are new.
  private var new: [Int] { texts.indices.filter { !texts[$0].isKnown } }

  init(_ texts: [EvidenceImport.Text], into store: InvestigationStore, profiles: [any DriverProfile]) {
    (self.texts, self.store, self.profiles) = (texts, store, profiles)
  }

  /// Adds everything.
  mutating func run() throws(InvestigationError) {
    try findStrangers()
    for index in new { try add(index) }
    try addCalls(new)
    try tellOtherRuns()
    try addConfiguration(new)
    try addCaptures(new)
    for index in new { try verifyTables(index) }
    for index in new {
      let extraction = texts[index].extraction
      try keep(Fact.importedFile(extraction.name), hex(extraction.fingerprint))
    }
  }

  private mutating func keep(_ name: String, _ value: String) throws(InvestigationError) {
    if try store.setFact(name, value) { bookkeeping += 1 }
  }

  // MARK: What needs no other text

  /// Adds what one text tells beside calls, configuration and captures.
  private mutating func add(_ index: Int) throws(InvestigationError) {
    var logs: [LogLine] = []
    var translations: [RecordedTranslation] = []
    var stored: (first: EventID, last: EventID)?
    func storeTranslations() throws(InvestigationError) {
      let new = try store.append(translations)
      translations = []
      if let first = new.first?.id, let last = new.last?.id { stored = (stored?.first ?? first, last) }
    }
    var cookies = Set(try store.cookieRequests().map(\.content))
    for finding in texts[index].extraction.findings {
      if let device = finding.device { try keep(Fact.device, device) }
      switch finding.evidence {
      case .translations(let runs): translations += runs
      case .log(let line) where line.isOfDevice:
        // What the device knew when it was asked depends on what came before.
        if !translations.isEmpty { try storeTranslations() }
        try store.append([line])
      case .log(let line): logs.append(line)
      case .cookie(let request):
        if cookies.insert(request.content).inserted { try store.append(request) }
      case .registers(let values): try store.append(values)
      case .sourceIndex(let index): try store.setFact(index.factName, index.factValue)
      case .fact(let name, let value): try store.setFact(name, value)
      case .release(let release):
        if try store.facts()[Fact.banner] == nil {
          try store.setFact(Fact.banner, "Linux version \(release) (as a warning names it)")
        }
      case .state(let state): try store.append(state)
      case .table(let table):
        if !strangers.contains(index) {
          for entry in table.entries { try store.setFact(entry.factName, entry.factValue) }
        }
      case .call, .configuration, .otherBacktrace, .pages, .capture: break
      }
    }
    if !logs.isEmpty { try store.append(logs) }
    if !translations.isEmpty { try storeTranslations() }
    if let stored {
      let batch = ImportedTranslations(file: texts[index].extraction.name, events: stored.first...stored.last)
      try keep(batch.factName, batch.factValue)
    }
  }

  private func addConfiguration(_ new: [Int]) throws(InvestigationError) {
    var configuration: KernelConfiguration?
    for index in new {
      for case .configuration(let next) in texts[index].extraction.findings.map(\.evidence) {
        configuration = configuration?.merged(with: next) ?? next
      }
    }
    if let configuration { try store.setFact(Fact.configuration, configuration.summary) }
  }

  // MARK: Calls

  private struct PendingCall {
    let call: RecordedCall
    let text: Int
  }

  private mutating func addCalls(_ new: [Int]) throws(InvestigationError) {
    let stored = try store.calls()
    let history = CallHistory(stored, facts: try store.facts())
    var places = Set(stored.lazy.filter { $0.origin != nil }.map(\.place))
    var numbered: [UInt64: PendingCall] = [:]
    var taken: [UInt64: DriverCall] = [:]
    for call in history.calls {
      if let number = call.id.flatMap({ history.numbers[$0] }) { taken[number] = call.call }
    }
    var others: [PendingCall] = []
    for index in new {
      let extraction = texts[index].extraction
      let calls = extraction.calls
      try noteProfile(index)
      if let conflict = calls.first(where: { call in
        call.number.flatMap { taken[$0] }.map { $0 != call.call.call } ?? false
      }) {
        texts[index].remarks.append(
          "Its call \(conflict.number ?? 0) is another than the one that has this number already, so it is of another "
            + "run. Its calls were not added: import it into an investigation of its own.")
        continue
      }
      var numbers = CallNumbers(file: extraction.name)
      for (call, number, line) in calls where call.root == nil || !strangers.contains(index) {
        let pending = PendingCall(call: call, text: index)
        if let number {
          numbers.add(number, line: line)
          if taken.updateValue(call.call, forKey: number) == nil { numbered[number] = pending }
        } else {
          others.append(pending)
        }
      }
      if !numbers.isEmpty { try keep(numbers.factName, numbers.factValue) }
    }
    var ids: [DriverCall: RecordedCall] = [:]
    for call in history.calls where call.id.map({ history.numbers[$0] != nil }) == true {
      (ids[call.call], ids[call.call.outline]) = (call, call)
    }
    let inOrder = numbered.sorted { $0.key < $1.key }.map(\.value.call).filter { places.insert($0.place).inserted }
    for call in try store.append(calls: inOrder) {
      for form in [call.call, call.call.outline] { ids[form] = ids[form] ?? call }
    }
    var repeated: [Int: Int] = [:]
    var unplaced: [Int: Int] = [:]
    var added: [RecordedCall] = []
    for pending in others {
      if let same = ids[pending.call.call] {
        repeated[pending.text, default: 0] += 1
        if same.callers.isEmpty, !pending.call.callers.isEmpty, let id = same.id {
          try store.add(callers: pending.call.callers, to: id)
          ids[pending.call.call]?.callers = pending.call.callers
        }
      } else if places.insert(pending.call.place).inserted {
        added.append(pending.call)
        if !ids.isEmpty { unplaced[pending.text, default: 0] += 1 }
      }
    }
    try store.append(calls: added)
    for (index, count) in repeated {
      texts[index].remarks.append(
        "\(count == 1 ? "1 call is" : "\(count) calls are") in a table of numbered calls as well, and not added again.")
    }
    for (index, count) in unplaced {
      texts[index].remarks.append(
        "\(count == 1 ? "1 call has" : "\(count) calls have") no place among the numbered ones, and nothing is concluded "
          + "from \(count == 1 ? "it" : "them").")
    }
  }

  /// Tells of texts that map an IOVA which another text maps to another address, with no unmap between: they may be of two
  /// runs, and what follows from both together is then of none.
  private mutating func tellOtherRuns() throws(InvestigationError) {
    let history = CallHistory(try store.calls(), facts: try store.facts())
    var mapped: [IOVA: RecordedCall] = [:]
    var told: Set<String> = []
    for call in history.calls where call.call.domain != KVA(0) && call.id.map({ history.numbers[$0] == nil }) == true {
      guard let origin = call.origin, let file = origin.lastIndex(of: ":").map({ String(origin[..<$0]) }) else {
        continue
      }
      guard call.call.isMap else {
        mapped[call.call.iova] = nil
        continue
      }
      if let other = mapped[call.call.iova], other.call.target != call.call.target, let place = other.origin,
        !place.hasPrefix("\(file):"), let index = new.first(where: { texts[$0].extraction.name == file }),
        told.insert(file).inserted
      {
        texts[index].remarks.append(
          "\(call.call.iova) is mapped to \(call.call.target ?? GPA(0)) here and to \(other.call.target ?? GPA(0)) in \(place), "
            + "with no unmap between: they may be of two runs. Give each run an investigation of its own."
        )
      }
      mapped[call.call.iova] = call
    }
  }

  /// The driver is the one that the first call's signature fits.
  private mutating func noteProfile(_ index: Int) throws(InvestigationError) {
    var found: [String] = []
    for case .call(_, let profile?) in texts[index].extraction.findings.map(\.evidence) where !found.contains(profile) {
      found.append(profile)
    }
    guard let first = found.first else { return }
    let recorded = try store.facts()[Fact.profile]
    if recorded == nil { try store.setFact(Fact.profile, first) }
    let others = found.filter { $0 != recorded ?? first }
    if !others.isEmpty {
      texts[index].remarks.append(
        "The investigation is of the driver `\(recorded ?? first)`; calls here have the signature of "
          + others.map { "`\($0)`" }.joined(separator: ", ") + ".")
    }
  }

  // MARK: Tables that were written down entry by entry

  /// Finds the texts whose tables contradict what is known of the same memory: those of another run or another moment.
  private mutating func findStrangers() throws(InvestigationError) {
    var known: [GPA: TypedEntry] = [:]
    for entry in try store.typedEntries() { known[entry.address] = entry }
    var captures = [try store.snapshot()]
    for case .pages(let pages) in new.flatMap({ texts[$0].extraction.findings.map(\.evidence) }) {
      captures.append(pages)
    }
    for index in new {
      let entries = texts[index].extraction.findings.flatMap { finding -> [TypedEntry] in
        if case .table(let table) = finding.evidence { table.entries } else { [] }
      }
      if let own = entries.first(where: { entry in known[entry.address].map(entry.contradicts) ?? false }),
        let other = known[own.address]
      {
        estrange(
          index, "\(own.name) at \(own.address) is \(own.described), and \(other.described) in what was imported before"
        )
      } else if let own = entries.first(where: { Self.isDenied($0, by: captures) }) {
        estrange(index, "\(own.name) at \(own.address) is \(own.described), and something else in the captured pages")
      } else {
        for entry in entries { known[entry.address] = entry }
      }
    }
  }

  private mutating func estrange(_ index: Int, _ what: String) {
    strangers.insert(index)
    texts[index].remarks.append(
      "Its entry \(what): it is of another run or another moment. Its tables were not added: import it into an "
        + "investigation of its own.")
  }

  /// Whether pages were captured in which the entry lies, and in none of them it is as it was written down.
  private static func isDenied(_ entry: TypedEntry, by captures: [[GPA: [UInt8]]]) -> Bool {
    let words = captures.compactMap { pages -> TypedEntry? in
      guard let page = pages[entry.address.page], page.count == 4096, entry.address.rawValue & 7 == 0 else {
        return nil
      }
      let bits = page[entry.address.pageOffset..<entry.address.pageOffset + 8].reversed().reduce(0) {
        $0 << 8 | UInt64($1)
      }
      return TypedEntry(address: entry.address, content: .value(bits), name: entry.name)
    }
    return !words.isEmpty && words.allSatisfy(entry.contradicts)
  }

  /// Verifies the calls that a text tells together with its tables.
  private mutating func verifyTables(_ index: Int) throws(InvestigationError) {
    let extraction = texts[index].extraction
    let facts = try store.facts()
    guard !strangers.contains(index),
      extraction.findings.contains(where: { if case .table = $0.evidence { true } else { false } }),
      let profile = profiles.first(where: { $0.identifier == facts[Fact.profile] })
    else { return }
    let places = Set(extraction.calls.lazy.filter { $0.call.root != nil }.map(\.call.place))
    let own = CallHistory(try store.calls(), facts: facts).calls.filter { places.contains($0.place) }
    let found = LaterVerification(
      CallHistory(own, facts: [:]), moment: CaptureMoment(file: extraction.name, before: nil), known: [],
      profile: profile, memory: try store.recordedMemory())
    for (call, verification) in found.verifications { try store.append(verification, of: call) }
    try noteVerified(found.verifications.count, "the tables in \(extraction.name)", index)
  }

  private mutating func noteVerified(_ count: Int, _ against: String, _ index: Int) throws(InvestigationError) {
    guard count > 0 else { return }
    let told = "\(count) call\(count == 1 ? "" : "s") against \(against)"
    let before = try store.facts()[Fact.laterVerification]
    try keep(Fact.laterVerification, [before, told].compactMap { $0 }.joined(separator: "; "))
    texts[index].remarks.append("Verified with it: \(told).")
  }

  // MARK: Captured tables

  private mutating func addCaptures(_ new: [Int]) throws(InvestigationError) {
    var notes: [String: (capture: TableCapture, device: String?)] = [:]
    var pages: [(index: Int, pages: [GPA: [UInt8]])] = []
    for index in new {
      let extraction = texts[index].extraction
      for finding in extraction.findings {
        switch finding.evidence {
        case .capture(let capture): notes[Self.stem(extraction.name)] = (capture, finding.device)
        case .pages(let found): pages.append((index, found))
        default: break
        }
      }
    }
    var captures: [(index: Int?, tables: CapturedTables)] = []
    for (index, found) in pages {
      let name = texts[index].extraction.name
      let noted = notes.removeValue(forKey: Self.stem(name))
      let tables = CapturedTables(file: name, pages: found, notes: noted?.capture)
      captures.append((index, tables))
      if noted == nil {
        texts[index].remarks.append(
          "Nothing says whose tables these are: import the notes (*-meta.json) together with the pages.")
      }
      try noteDomain(tables, device: noted?.device)
    }
    // Notes whose pages are not here still tell a domain's root.
    for (name, noted) in notes.sorted(by: { $0.key < $1.key }) {
      let tables = CapturedTables(file: name, pages: [:], notes: noted.capture)
      if !noted.capture.registers.byOffset.isEmpty { try store.append(noted.capture.registers) }
      try noteDomain(tables, device: noted.device)
    }
    let roots = try store.facts().sorted { $0.key < $1.key }.compactMap {
      DomainRoot(factName: $0.key, value: $0.value)
    }
    if !roots.isEmpty { try store.setRoots(roots) }
    if captures.isEmpty { return }
    let history = CallHistory(try store.calls(), facts: try store.facts())
    let ordered = captures.map { ($0.index, $0.tables, $0.tables.moment(in: history)) }
      .sorted { ($0.2.before ?? .max) < ($1.2.before ?? .max) }
    for (index, tables, moment) in ordered {
      if let values = tables.notes?.registers, !values.byOffset.isEmpty { try store.append(values) }
      try store.append(snapshot: tables.pages, reason: moment.reason)
      try verify(tables, at: moment, history, index)
    }
  }

  /// Both files of a capture without what tells them apart: `tables` of `tables-pages.json` and `tables-meta.json`.
  private static func stem(_ name: String) -> String {
    for suffix in ["-pages.json", "-meta.json", ".json"] where name.hasSuffix(suffix) {
      return String(name.dropLast(suffix.count))
    }
    return name
  }

  private func noteDomain(_ tables: CapturedTables, device: String?) throws(InvestigationError) {
    let device = profiles.map(\.device).first { $0.name == device }
    // Notes that name no domain, but a call: it is that of the recorded one.
    var domain: KVA?
    if let after = tables.notes?.after {
      let calls = try store.calls().map(\.call).filter {
        ($0.iova, $0.length, $0.target) == (after.iova, after.length, after.target)
      }
      let domains = Set(calls.map(\.domain))
      if domains.count == 1 { domain = domains.first }
    }
    if let root = tables.domainRoot(device: device, otherwise: domain) {
      try store.setFact(root.factName, root.factValue)
    }
  }

  private mutating func verify(
    _ tables: CapturedTables, at moment: CaptureMoment, _ history: CallHistory, _ index: Int?
  ) throws(InvestigationError) {
    let facts = try store.facts()
    guard let index, let profile = profiles.first(where: { $0.identifier == facts[Fact.profile] }) else { return }
    let known = Set(try store.verifications().map(\.call))
    let found = tables.verify(history, at: moment, known: known, profile: profile)
    try store.append(verifications: found.verifications)
    let isKnown = moment.before.map { ", as they were before call \($0)" } ?? ""
    try noteVerified(found.verifications.count, "\(tables.file)\(isKnown)", index)
    if found.untold > 0 {
      texts[index].remarks.append(
        "It says nothing about \(found.untold) call\(found.untold == 1 ? "" : "s") before it: their ranges were used again, "
          + "or may have been by calls that are not recorded.")
    }
  }
}

extension Extraction {
  /// The calls in it with the numbers that the text gives them, and their lines.
  fileprivate var calls: [(call: RecordedCall, number: UInt64?, line: Int)] {
    findings.compactMap { finding in
      if case .call(let call, _) = finding.evidence { (call, finding.number, finding.lines.lowerBound) } else { nil }
    }
  }
}

extension DriverCall {
  /// The call as a text tells it that names neither domain nor protection.
  fileprivate var outline: DriverCall {
    DriverCall(
      function: function, operation: target.map { .map(target: $0, protection: nil, allocation: nil) } ?? .unmap,
      domain: KVA(0), iova: iova, length: length, pages: pages)
  }
}

extension RecordedCall {
  /// Where a call was read and what it is.
  fileprivate struct Place: Hashable {
    let origin: String?
    let call: DriverCall
  }

  fileprivate var place: Place { Place(origin: origin, call: call) }
}

extension CookieRequest {
  /// What it says, whenever it was stored.
  fileprivate var content: CookieRequest { CookieRequest(domain: domain, held: held, callers: callers) }
}
