public import PageTables

/// Guest RAM in files: QEMU with `-object memory-backend-file,…,share=on`. Live, without copying, and without any
/// permission on QEMU's process.
///
/// Every page that a region holds whole is resident; its bytes change as the guest runs. Where regions overlap, the
/// first wins.
public struct MappedFileMemory: PhysicalMemory, Sendable {
  /// Guest-physical addresses, and where in a file they lie.
  public struct Region: Hashable, Sendable {
    /// The addresses.
    public let range: MemoryRange
    /// The file.
    public let path: String
    /// The byte of the file that is the range's first address.
    public let fileOffset: UInt64

    /// The bytes of `path` from `fileOffset` on, at the addresses of `range`.
    public init(range: MemoryRange, path: String, fileOffset: UInt64) {
      self.range = range
      self.path = path
      self.fileOffset = fileOffset
    }
  }

  /// Keeps the mappings that the table points into.
  private let files: [String: MappedFile]
  private let table: RangeTable

  /// Opens the files of `regions`. A region that its file is too short for ends where the file ends.
  ///
  /// Throws where a file cannot be opened or mapped, and ``MemoryError/truncated(path:what:needed:size:)`` where it
  /// has not one byte of a region.
  public init(regions: [Region]) throws(MemoryError) {
    var files: [String: MappedFile] = [:]
    var ranges: [(range: MemoryRange, place: UInt64)] = []
    for region in regions {
      let file: MappedFile
      if let open = files[region.path] {
        file = open
      } else {
        file = try MappedFile(path: region.path)
        files[region.path] = file
      }
      guard region.fileOffset < file.size else {
        let end = region.fileOffset.addingReportingOverflow(region.range.size)
        throw .truncated(
          path: region.path, what: "guest RAM \(region.range)", needed: end.overflow ? .max : end.partialValue,
          size: file.size)
      }
      let size = min(region.range.size, file.size - region.fileOffset)
      ranges.append((try MemoryRange(start: region.range.start, size: size), file.place(region.fileOffset)))
    }
    guard !ranges.isEmpty else { throw .noMemory(place: "A list of no files") }
    self.files = files
    self.table = RangeTable(ranges, name: files.keys.sorted().joined(separator: ", "))
  }

  /// The whole file at `path`, its first byte at `base`.
  public init(path: String, base: GPA) throws(MemoryError) {
    let file = try MappedFile(path: path)
    self.files = [path: file]
    self.table = RangeTable([(try MemoryRange(start: base, size: file.size), file.place(0))], name: path)
  }

  /// Copies; fails at the first address that no file holds.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try table.copy(address, into: buffer)
  }

  /// The page in the mapping. Aligned to 8 bytes only where the region's offset in its file is.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { table.residentPage(page) }
}
