@testable import Investigation

/// What was put in against what was found, readable by a person.
struct ConfusionMatrix: CustomStringConvertible {
  /// The cases of one mutation.
  struct Row: Sendable {
    let mutation: String
    var judged = 0, named = 0, first = 0, harmless = 0, falseAlarms = 0
    /// How often each kind of cause came first.
    var found: [String: Int] = [:]
    /// What the misses and false alarms were taken for.
    var remarks: [String] = []

    init(mutation: String) { self.mutation = mutation }

    mutating func add(_ diagnosis: Diagnosis, seed: UInt64, isNamed: Bool, names: (Diagnosis.Cause) -> Bool) {
      judged += 1
      found[diagnosis.hypotheses.first?.cause.kind ?? "none", default: 0] += 1
      if diagnosis.hypotheses.first.map({ names($0.cause) }) == true { first += 1 }
      if isNamed {
        named += 1
      } else {
        note("taken for", diagnosis, seed)
      }
    }

    mutating func note(falseAlarm diagnosis: Diagnosis, seed: UInt64) {
      falseAlarms += 1
      note("harmless and taken for", diagnosis, seed)
    }

    private mutating func note(_ what: String, _ diagnosis: Diagnosis, _ seed: UInt64) {
      guard remarks.count < 4 else { return }
      let titles = diagnosis.hypotheses.map { "\($0.title) (\($0.support))" }.joined(separator: " | ")
      remarks.append(
        "\(mutation), seed \(seed), \(diagnosis.disagreeing) of \(diagnosis.calls) calls and "
          + "\(diagnosis.disagreeingPages) pages wrong, \(what): \(titles.isEmpty ? "nothing" : titles)")
    }
  }

  let rows: [Row]
  var judged: Int { rows.reduce(0) { $0 + $1.judged } }
  var named: Int { rows.reduce(0) { $0 + $1.named } }
  var falseAlarms: Int { rows.reduce(0) { $0 + $1.falseAlarms } }

  /// Rows are mutations, columns the first hypothesis' cause under a letter each.
  var description: String {
    func padded(_ text: String, _ width: Int) -> String {
      String(repeating: " ", count: max(0, width - text.count)) + text
    }
    var columns: [String] = []
    for row in rows {
      for kind in row.found.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }).map(\.key)
      where !columns.contains(kind) { columns.append(kind) }
    }
    let letters = columns.indices.map { String(UnicodeScalar(UInt8(($0 < 26 ? 65 : 71) + $0))) }
    let width = rows.map(\.mutation.count).max() ?? 0
    var lines = [
      String(repeating: " ", count: width) + "  first  1st/2nd  harmless " + letters.map { padded($0, 4) }.joined()
    ]
    for row in rows {
      let counts = columns.map { padded(row.found[$0].map(String.init) ?? ".", 4) }.joined()
      lines.append(
        row.mutation + String(repeating: " ", count: width - row.mutation.count) + padded("\(row.first)", 7)
          + padded("\(row.named)/\(row.judged)", 9) + padded("\(row.harmless)", 10) + " " + counts)
    }
    lines.append("")
    lines += zip(letters, columns).map { "  \($0)  \($1)" }
    lines.append("\(named) of \(judged) named among the first two hypotheses, \(falseAlarms) false alarms")
    lines += rows.flatMap(\.remarks).map { "  " + $0 }
    return lines.joined(separator: "\n")
  }
}

extension Diagnosis.Cause {
  /// The cause without the numbers.
  var kind: String {
    switch self {
    case .wrongShift(let shift): "wrong shift at level \(shift.level)"
    case .pageNumberShifted: "page number shifted"
    case .pageNumberCut: "page number cut"
    case .pageNumberOff: "page number off"
    case .protectionMisread(let mistake): "protection: \(mistake.rawValue)"
    case .rangeCut(let mistake): "map cut: \(mistake)"
    case .unmapIncomplete(let mistake): "unmap cut: \(mistake)"
    case .otherSignature: "other signature"
    case .progressNotReported: "progress not reported"
    case .otherDomain: "other domain"
    case .entriesLost: "entries lost"
    case .unmapsAnother: "unmap of another page"
    case .vanished: "vanished"
    case .superpageMisread: "large leaf misread"
    case .contiguousIgnored: "contiguous leaves misread"
    case .staleCache: "stale cache"
    case .latchedFault: "latched fault"
    case .faultsUnheard: "faults unheard"
    case .registerMisplaced: "register misplaced"
    case .bypassed: "bypassed"
    case .otherTable: "other table"
    case .notAttached: "not attached"
    case .noDefaultDomain: "no default domain"
    case .sharedRequester: "shared requester"
    case .beyondTable: "beyond the device table"
    case .noCacheCoherency: "no cache coherency"
    case .unsafeInterrupts: "unsafe interrupts"
    case .translatedElsewhere: "translated elsewhere"
    case .reachedAfterUnmap: "reached after unmap"
    case .passesUntranslated: "passes untranslated"
    case .refusedThoughMapped: "refused though mapped"
    case .neverProbed: "never probed"
    case .unmappedAccess: "unmapped access"
    case .doorbellUnmapped: "doorbell unmapped"
    }
  }
}
