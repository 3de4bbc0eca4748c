import GuestMemory
public import PageTables

/// Captured pages, and beside them entries of tables that were written down one by one.
///
/// Of a table that is known by such entries alone, the others are unrecorded: a list may leave out anything.
public struct TypedMemory: PhysicalMemory {
  private let pages: any PhysicalMemory
  private let entries: [GPA: UInt64]
  /// Tables of which entries were written down, and those that such entries point to.
  private let tables: Set<GPA>

  /// `pages`, and `entries` for what is in none of them.
  public init(_ pages: any PhysicalMemory, entries: [TypedEntry]) {
    self.pages = pages
    self.entries = entries.reduce(into: [:]) { $0[$1.address] = $1.entry.rawValue }
    tables = entries.reduce(into: []) { tables, typed in
      tables.insert(typed.address.page)
      if typed.entry.isPointer { tables.insert(typed.entry.address) }
    }
  }

  /// From the pages, else an entry as a whole.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    do throws(UnreadableMemory) {
      try pages.read(address, into: buffer)
    } catch {
      guard tables.contains(address.page) else { throw error }
      guard buffer.count == 8, let word = entries[address] else {
        throw UnreadableMemory(address: address, reason: "no text shows this entry", isUnrecorded: true)
      }
      withUnsafeBytes(of: word.littleEndian) { buffer.copyMemory(from: $0) }
    }
  }

  /// Only captured pages are whole.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { pages.residentPage(page) }
}

extension InvestigationStore {
  /// What is recorded of guest memory: the last snapshot, and for what is not in it the entries that texts tell.
  public func recordedMemory() throws(InvestigationError) -> any PhysicalMemory {
    let pages: SnapshotMemory
    do { pages = try SnapshotMemory(pages: try snapshot()) } catch { throw InvestigationError("\(path): \(error)") }
    let typed = try typedEntries()
    if typed.isEmpty { return pages }
    // A call with a protection would be held against flags that nobody wrote down.
    let isProtected = try calls().contains { $0.root != nil && $0.call.protection != nil }
    return TypedMemory(
      pages, entries: typed.filter { if case .leaf = $0.content { !isProtected } else { true } })
  }

  /// The entries of tables that texts tell, each as it was told last, by address.
  public func typedEntries() throws(InvestigationError) -> [TypedEntry] {
    try facts().compactMap { TypedEntry(factName: $0.key, value: $0.value) }.sorted { $0.address < $1.address }
  }
}
