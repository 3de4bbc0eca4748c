import GuestMemory
import PageTables

/// Guest memory as it was found once, and whether it is still there: memory can be plugged in and taken away, and what a
/// range leads to can change with a reset, while the connection stays the same.
struct ResolvedMemory {
  let source: any PhysicalMemory
  let explanation: String
  /// Set where every page is asked of the debugger, and kept until the guest runs.
  let remote: CallableMemory?
  private let places: [GuestMemoryResolver.Place]?
  private let locate: () throws -> [GuestMemoryResolver.Place]
  private let lostPages = MappedFiles.lostPages
  private var isCertain = true

  /// The memory that `locate` tells of, opened by `open`; where either fails, through the debugger, which `slow` names.
  init(
    locate: @escaping () throws -> [GuestMemoryResolver.Place],
    open: ([GuestMemoryResolver.Place]) throws -> GuestMemoryResolver.Resolution,
    slow: String, reader: @escaping CallableMemory.Reader, pageReader: CallableMemory.PageReader? = nil
  ) {
    self.locate = locate
    let found = Result { try locate() }
    places = try? found.get()
    do {
      let resolved = try open(found.get())
      (source, explanation, remote) = (resolved.source, resolved.explanation, nil)
    } catch {
      let memory = CallableMemory(ranges: places?.map(\.region.range), reader: reader, pageReader: pageReader)
      (source, explanation, remote) = (memory, "\(slow), page by page: \(error)", memory)
    }
  }

  /// The guest ran: what was read may have changed, and where memory lies as well.
  mutating func targetRan() {
    remote?.invalidate()
    isCertain = false
  }

  /// Whether memory still lies where it was found: asked while the guest may have moved it, and false once a file was cut
  /// shorter. Where nobody answers, nobody says that it moved.
  ///
  /// Changes nothing: what the debugger does to answer may come back to whoever keeps this value.
  func isCurrent() -> Bool {
    if lostPages != MappedFiles.lostPages { return false }
    if isCertain { return true }
    guard let now = try? locate() else { return true }
    return now == places
  }

  /// Nobody need ask again until the guest runs.
  mutating func settle() { isCertain = true }
}
