import IOMMUModel
import Investigation
import PageTables

/// Reads tables of calls and translations with comma-separated columns and a line of names above them.
///
/// Calls: `function` (or `op`) and the function's parameters; translations: `addr`, `flag`, perhaps `translated_addr`,
/// `addr_mask`, `perm`; runs of translations: `start_addr`, `last_addr`, `calls`, `stride`, `flag`.
struct TableReader: LineReader {
  /// The text's name.
  let name: String
  /// The drivers that are known.
  let profiles: [any DriverProfile]

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let header = Self.header(text[start]) else { return nil }
    let kind: (Row, Int) -> Finding?
    var runs = TranslationRuns()
    var runLines = start..<start
    var findings: [Finding] = []
    var foreign: String?
    if header.contains("iova"), header.contains("function") || header.contains("op") {
      foreign = self.foreign(header)
      let candidates = candidates(header)
      kind = { row, index in call(row, at: index, among: candidates, of: text) }
    } else if header.contains("start_addr"), header.contains("calls"), header.contains("stride") {
      kind = { row, index in Self.run(row, at: index, of: text) }
    } else if header.contains("addr"), header.contains("flag") {
      kind = { row, index in
        guard let translation = Self.translation(row) else { return nil }
        runs.add(translation)
        runLines = (runLines.isEmpty ? index : runLines.lowerBound)..<index + 1
        return Finding(lines: text.numbers(index..<index + 1), evidence: .translations([]))
      }
    } else {
      return nil
    }
    var refusals: [Refusal] = []
    var end = start + 1
    while end < text.count, !text.isStopped(at: end), let cells = Self.cells(text[end], like: header) {
      let row = Row(names: header, cells: cells)
      if cells.count != header.count {
        Self.refuse(
          end, "The row has \(cells.count) columns, the table \(header.count).", text, &refusals)
      } else if let finding = kind(row, end) {
        if case .translations([]) = finding.evidence {} else { findings.append(finding) }
      } else {
        Self.refuse(
          end, foreign ?? "The row has no values of a call or translation that is known here.", text, &refusals)
      }
      end += 1
    }
    if !runs.all.isEmpty {
      findings.append(Finding(lines: text.numbers(runLines), evidence: .translations(runs.all)))
    }
    return Reading(end: end, findings, refusals: refusals)
  }

  /// Adds a row that cannot be read; rows with the same reason that follow each other are told together.
  private static func refuse(_ index: Int, _ reason: String, _ text: TextLines, _ refusals: inout [Refusal]) {
    let line = text.number(index)
    if let last = refusals.last, last.reason == reason, last.lines.upperBound == line - 1 {
      refusals[refusals.count - 1] = Refusal(lines: last.lines.lowerBound...line, reason: reason)
    } else {
      refusals.append(Refusal(lines: line...line, reason: reason))
    }
  }

  /// A row's cells by column name.
  private struct Row {
    let names: [String]
    let cells: [ArraySlice<UInt8>]

    /// The cell in column `name`; nil when there is none, or nothing in it.
    subscript(name: String) -> ArraySlice<UInt8>? {
      guard let column = names.firstIndex(of: name), cells.indices.contains(column), !cells[column].isEmpty else {
        return nil
      }
      return cells[column]
    }

    func number(_ name: String) -> UInt64? {
      guard let cell = self[name] else { return nil }
      // Some tools write whole numbers as 4.0.
      return wholeNumber(cell.hasSuffix(".0") ? cell.dropLast(2) : cell)
    }

    /// The function names of a chain of callers, innermost first.
    var callers: [String] {
      guard let cell = self["caller"] ?? self["caller_chain"] else { return [] }
      return cell.split(separator: 0x3c).map { $0.trimmed.text }.filter { !$0.isEmpty }
    }
  }

  private static func header(_ line: ArraySlice<UInt8>) -> [String]? {
    guard line.first?.isIdentifier == true, line.count < 1024, line.contains(0x2c) else { return nil }
    let names = line.split(separator: 0x2c, omittingEmptySubsequences: false)
    guard names.count >= 3, names.allSatisfy({ $0.first?.isDigit == false && $0.allSatisfy(\.isIdentifier) }) else {
      return nil
    }
    return names.map(\.text)
  }

  /// The cells of a line that belongs to the table; nil when the table has ended.
  private static func cells(_ line: ArraySlice<UInt8>, like header: [String]) -> [ArraySlice<UInt8>]? {
    guard !line.isBlank, line.contains(0x2c) else { return nil }
    let cells = line.split(separator: 0x2c, maxSplits: 64, omittingEmptySubsequences: false).map(\.trimmed)
    guard cells.count == header.count || cells.count >= 3 && cells.first?.allSatisfy(\.isHexDigit) == true else {
      return nil
    }
    return cells
  }

  // MARK: Calls

  /// Why a table with these columns can hold no call of a driver that is known here; nil when it can.
  private func foreign(_ columns: [String]) -> String? {
    let functions = profiles.flatMap(\.functions)
    let isKnown = functions.contains { function in
      function.parameters.allSatisfy { parameter in
        function.optional.contains(parameter) || columns.contains { $0 == parameter || parameter.hasSuffix("_\($0)") }
      }
    }
    if isKnown { return nil }
    let names = Set(functions.map(\.symbol)).sorted()
    return "The table is of a driver that is not known here: it has no columns for \(list(names))."
  }

  /// A function of a driver that rows of a table may be calls of.
  private struct Candidate {
    let profile: any DriverProfile
    let function: DriverFunction
    /// Its parameters, each with the column that has it.
    let columns: [(parameter: String, column: String)]
  }

  /// The functions whose parameters a table with these columns has. Found once a table: a log may have a million rows.
  private func candidates(_ names: [String]) -> [Candidate] {
    profiles.flatMap { profile in
      profile.functions.compactMap { function in
        var columns: [(parameter: String, column: String)] = []
        for parameter in function.parameters {
          // A column may have the kernel's usual word for what a driver calls by a longer name: `prot` for `iommu_prot`.
          let column = names.first { $0 == parameter } ?? names.first { parameter.hasSuffix("_\($0)") }
          if let column {
            columns.append((parameter, column))
          } else if !function.optional.contains(parameter) {
            return nil
          }
        }
        return Candidate(profile: profile, function: function, columns: columns)
      }
    }
  }

  private func call(_ row: Row, at index: Int, among candidates: [Candidate], of text: TextLines) -> Finding? {
    let kind = row["op"].flatMap { CallKind(rawValue: $0.text) }
    let symbol = row["function"]
    for candidate in candidates {
      let function = candidate.function
      guard symbol.map({ $0.elementsEqual(function.symbol.utf8) }) ?? (function.kind == kind) else { continue }
      var values: [String: UInt64] = [:]
      for (parameter, column) in candidate.columns { values[parameter] = row.number(column) }
      guard let call = try? candidate.profile.call(function, named: values) else { continue }
      let recorded = RecordedCall(
        number: 0, call: call, root: nil, requester: nil, callers: row.callers, origin: "\(name):\(text.number(index))")
      return Finding(
        lines: text.numbers(index..<index + 1), evidence: .call(recorded, profile: candidate.profile.identifier),
        number: row.number("seq"))
    }
    return nil
  }

  // MARK: Translations

  private static func access(_ row: Row, _ column: String) -> Access? {
    row.number(column).flatMap { UInt8(exactly: $0) }.flatMap(Access.init)
      ?? row[column].flatMap { TranslationReader.access(.name($0.text)) }
  }

  private static func translation(_ row: Row) -> RecordedTranslation? {
    guard let address = row.number("addr") else { return nil }
    var answer: RecordedTranslation.Answer?
    if let target = row.number("translated_addr"), let mask = row.number("addr_mask"), let allowed = access(row, "perm")
    {
      answer = RecordedTranslation.Answer(address: GPA(target), mask: mask, access: allowed)
    }
    return RecordedTranslation(
      requester: nil, iova: IOVA(address), access: access(row, "flag"), answer: answer,
      asker: TranslationReader.asker(chain: row.callers))
  }

  private static func run(_ row: Row, at index: Int, of text: TextLines) -> Finding? {
    guard let first = row.number("start_addr"), let count = row.number("calls"), count > 0 else { return nil }
    let stride = row.number("stride") ?? 0
    guard let last = row.number("last_addr"), last == first &+ stride &* (count - 1) else { return nil }
    let run = RecordedTranslation(
      requester: nil, iova: IOVA(first), count: count, stride: count == 1 ? 0 : stride, access: access(row, "flag"),
      answer: nil, asker: TranslationReader.asker(chain: row.callers))
    return Finding(lines: text.numbers(index..<index + 1), evidence: .translations([run]))
  }
}
