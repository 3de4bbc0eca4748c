import IOMMUModel
import Investigation
import PageTables

/// Reads tables that somebody wrote down entry by entry, with whose they are and how walks in them end:
///
///     dte[8] = 0x80baf005, td word 0 = 0x8000000000080b93, driver s1ppn<<12 = 0x80b93000
///     root[0] = 0x00000000202ec001
///       level1[128] = 0x00000000202f8001  pointer, level 0 has 512 valid 4 KiB entries, first [0] = 0x0000000020800007
///     iova 0x10000000 mapped to 0x82000000 (pgsize 2097152 pgcount 1): device walk -> 0x82000000
///
/// A walk is taken for what it shows of the entry that it ends at, and for the call that mapped its page; what it was taken
/// for then (`MISMATCH`) is not asked.
struct TypedTableReader: LineReader {
  /// The text's name.
  let name: String
  /// The drivers that are known.
  let profiles: [any DriverProfile]

  /// Lines that one table may take.
  private static let limit = 1 << 20

  func read(at start: Int, of text: TextLines) -> Reading? {
    let owner = Owner(text[start])
    guard owner != nil || Self.isTable(at: start, in: text) else { return nil }
    var refusals: [Refusal] = []
    func refuse(_ index: Int, _ reason: String) {
      refusals.append(Refusal(lines: text.numbers(index..<index + 1), reason: reason))
    }
    if let problem = owner?.problem { refuse(start, problem) }
    var builder = TypedTableBuilder(
      root: owner?.root, address: owner == nil ? TypedStateReader.root(before: start, of: text) : nil)
    var walks: [(walk: TypedWalk, index: Int)] = []
    var index = owner == nil ? start : start + 1
    var end = index
    while index < text.count, index - start < Self.limit {
      let line = text[index]
      do throws(TypedTableBuilder.Problem) {
        if let entry = TypedLine(line) {
          end = index + 1
          try builder.add(entry, line: text.number(index))
        } else if let walk = TypedWalk(line) {
          end = index + 1
          try builder.add(walk, line: text.number(index))
          walks.append((walk, index))
        } else if Self.isEntryInPart(line) {
          end = index + 1
          throw TypedTableBuilder.Problem(reason: "It starts as an entry of a table does, and is none.")
        } else if line.first != 0x23, !line.elementsEqual("...".utf8) {
          // Comments and what a list leaves out may stand between.
          break
        }
      } catch { refuse(index, error.reason) }
      if index + 1 < text.count, Owner(text[index + 1]) != nil { break }
      index += 1
    }
    let lines = text.numbers(start..<max(end, start + 1))
    let table = TypedTable(root: owner?.root, requester: owner?.requester, entries: builder.entries)
    var findings: [Finding] = []
    if !table.entries.isEmpty || owner?.root != nil {
      findings.append(Finding(lines: lines, evidence: .table(table)))
    }
    findings += calls(walks, table, of: text)
    return Reading(end: max(end, start + 1), findings, refusals: refusals)
  }

  /// Whether the entries from `start` on are more than a list of a root's.
  private static func isTable(at start: Int, in text: TextLines) -> Bool {
    var index = start
    while index < text.count, index - start < limit, let line = TypedLine(text[index]) {
      if !line.isPlainRoot { return true }
      index += 1
    }
    return false
  }

  /// `root[`, ` level1[`, and no more that can be read.
  private static func isEntryInPart(_ line: ArraySlice<UInt8>) -> Bool {
    let line = line.prefix(512).trimmed
    return (line.hasPrefix("root[") || line.hasPrefix("level") && line.contains(0x5b)) && line.contains(word: " = ")
  }

  // MARK: Whose tables they are

  /// The device's entry for a requester, the descriptor that it names, and the table that the driver has for it.
  private struct Owner {
    var root: TableRoot?
    var requester: RequesterID?
    var problem: String?

    private static let pageNumbers: UInt64 = (1 << 44) - 1

    init?(_ line: ArraySlice<UInt8>) {
      var scanner = Scanner(line.prefix(256))
      guard scanner.take("dte["), let index = scanner.number(), scanner.take("] = "), let entry = scanner.number(),
        scanner.take(", td word 0 = "), let word = scanner.number()
      else { return nil }
      let address = GPA((word & Self.pageNumbers) << 12)
      guard let mode = PagingMode(firstStageCode: UInt8(word >> 60)) else {
        problem = "The descriptor \(hex(word)) names no page table: its mode is \(word >> 60)."
        return
      }
      guard mode.entryFormat == .rv64 else {
        problem = "The descriptor \(hex(word)) names an \(mode.name) table, which is not read entry by entry."
        return
      }
      if scanner.take(", driver s1ppn<<12 = "), let driver = scanner.number(), driver != address.rawValue {
        problem =
          "The descriptor names the table at \(address), the driver the one at \(hex(driver)): which of them is "
          + "written out is not said."
        return
      }
      root = TableRoot(address: address, mode: mode)
      if entry & 1 == 1 { requester = UInt32(exactly: index).map(RequesterID.init(rawValue:)) }
    }
  }

  // MARK: The calls that mapped the walked pages

  private func calls(
    _ walks: [(walk: TypedWalk, index: Int)], _ table: TypedTable, of text: TextLines
  ) -> [Finding] {
    let driver = driver(of: table)
    var findings: [Finding] = []
    var position = 0
    while position < walks.count {
      let (walk, index) = walks[position]
      position += 1
      var length: UInt64 = 0x1000
      var pages: DriverCall.Pages?
      var last = index
      if let whole = walk.length, whole == length || position < walks.count && walk.isFirst(of: walks[position].walk) {
        (length, pages) = (whole, DriverCall.Pages(size: walk.size, count: walk.count))
        if whole > 0x1000 {
          last = walks[position].index
          position += 1
        }
      }
      let call = DriverCall(
        function: driver?.symbol ?? "map", operation: .map(target: walk.asked, protection: nil, allocation: nil),
        domain: KVA(0), iova: walk.iova, length: length, pages: pages)
      let recorded = RecordedCall(
        number: 0, call: call, root: table.root, requester: table.requester,
        origin: "\(name):\(text.number(index))")
      findings.append(
        Finding(
          lines: text.number(index)...text.number(last),
          evidence: .call(recorded, profile: driver?.profile)))
    }
    return findings
  }

  /// The map function that takes `pgsize` and `pgcount`, of a driver that could have written the leaves of `table`; nil when
  /// several that are known here could.
  private func driver(of table: TypedTable) -> (symbol: String, profile: String)? {
    let fitting = profiles.flatMap { profile in
      profile.functions.filter {
        $0.kind == .map && $0.parameters.contains("pgsize") && $0.parameters.contains("pgcount")
          && Self.leafFlags(of: table).isSubset(of: Self.leafFlags(of: profile, mode: table.root?.mode ?? .sv39))
      }
      .map { (symbol: $0.symbol, profile: profile.identifier) }
    }
    return fitting.count == 1 ? fitting[0] : nil
  }

  private static func leafFlags(of table: TypedTable) -> Set<PageTableEntry.Flags> {
    Set(
      table.entries.compactMap {
        guard case .value(let bits) = $0.content, case let entry = PageTableEntry(rawValue: bits), entry.isLeaf else {
          return nil
        }
        return entry.flags
      })
  }

  /// The flags that a driver gives to a page, whatever it is asked for.
  private static func leafFlags(of profile: any DriverProfile, mode: PagingMode) -> Set<PageTableEntry.Flags> {
    let asked: [Protection] = [.read, .write, [.read, .write]]
    let runs = (asked + asked.map { $0.union(.noexec) }).flatMap { protection in
      profile.leaves(
        of: DriverCall(
          function: "", operation: .map(target: GPA(0), protection: protection, allocation: nil), domain: KVA(0),
          iova: IOVA(0), length: 0x1000, pages: DriverCall.Pages(size: 0x1000, count: 1)),
        mode: mode)
    }
    return Set(runs.map(\.first.flags))
  }
}
