public import PageTables

/// Guest memory in an ELF64 little-endian core, as QEMU's `dump-guest-memory FILE` writes it: each `PT_LOAD` segment
/// holds the guest-physical addresses from its `p_paddr` on.
///
/// Where segments overlap, the first in the file wins. Bytes that a segment claims but does not store (`p_memsz`
/// greater than `p_filesz`) are unreadable: nobody knows that they were zero. Pages are resident, in general not
/// aligned.
public struct ELFCoreMemory: PhysicalMemory, Sendable {
  /// Keeps the mapping that the table points into.
  private let file: MappedFile
  private let table: RangeTable

  /// Opens the core at `path` and checks every header against the file's size.
  ///
  /// Throws ``MemoryError/notACore(path:reason:)``, ``MemoryError/malformedCore(path:offset:reason:)`` or
  /// ``MemoryError/truncated(path:what:needed:size:)``.
  public init(path: String) throws(MemoryError) {
    let file = try MappedFile(path: path)
    let segments = try Headers(file: file).loadSegments()
    self.file = file
    self.table = RangeTable(segments.map { ($0.range, file.place($0.offset)) }, name: "the core \(path)")
  }

  /// Copies; fails at the first address that the core does not store.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try table.copy(address, into: buffer)
  }

  /// The page in the mapped core; not aligned.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { table.residentPage(page) }
}

/// The headers of one core. Offsets and names as in the ELF-64 object file format, version 1.5, tables 3, 9 and 15.
private struct Headers {
  struct Segment {
    let range: MemoryRange
    let offset: UInt64
    let virtual: UInt64
  }

  let file: MappedFile

  private static let programHeaderSize: UInt64 = 56
  private static let sectionHeaderSize: UInt64 = 64
  private static let segmentLimit: UInt64 = 1 << 20

  func loadSegments() throws(MemoryError) -> [Segment] {
    try checkIdentification()
    let offset = try field(32, UInt64.self, of: "the ELF header")
    let count = try programHeaderCount()
    let entrySize = UInt64(try field(54, UInt16.self, of: "the ELF header"))
    guard entrySize == Self.programHeaderSize else {
      throw .malformedCore(path: file.path, offset: 54, reason: "e_phentsize is \(entrySize), not 56")
    }
    // QEMU writes one a range of RAM. A sparse file of no size on the disk can have 2^32 of them.
    guard count <= Self.segmentLimit else {
      throw .malformedCore(
        path: file.path, offset: 56, reason: "it has \(count) program headers, more than \(Self.segmentLimit)")
    }
    try check("the program header table", at: offset, size: count * Self.programHeaderSize)
    var segments: [Segment] = []
    for index in 0..<count {
      let header = offset + index * Self.programHeaderSize
      if let segment = try segment(at: header, index: index) { segments.append(segment) }
    }
    guard !segments.isEmpty else { throw .noMemory(place: "The core \(file.path)") }
    guard segments.contains(where: { $0.range.start.rawValue != 0 || $0.virtual == 0 }) else {
      throw .notACore(
        path: file.path,
        reason: "all its segments have p_paddr 0, so it is the core of a process, perhaps of QEMU itself")
    }
    return segments
  }

  private func checkIdentification() throws(MemoryError) {
    let magic: UInt64 = try field(0, UInt64.self, of: "the ELF identification")
    // "KDUMP   ": dump-guest-memory -z, -l or -s.
    guard magic != 0x2020_2050_4d55_444b else {
      throw .notACore(path: file.path, reason: "it is compressed (kdump); write it without -z, -l and -s")
    }
    guard magic & 0xffff_ffff == 0x464c_457f else {
      throw .notACore(path: file.path, reason: "it does not start with 7f 45 4c 46")
    }
    let ident: (class: UInt64, data: UInt64) = (magic >> 32 & 0xff, magic >> 40 & 0xff)
    guard ident.class == 2 else {
      throw .notACore(path: file.path, reason: "EI_CLASS is \(ident.class), not 2 (64-bit)")
    }
    guard ident.data == 1 else {
      throw .notACore(path: file.path, reason: "EI_DATA is \(ident.data), not 1 (little-endian)")
    }
    let type = try field(16, UInt16.self, of: "the ELF header")
    guard type == 4 else { throw .notACore(path: file.path, reason: "e_type is \(type), not 4 (ET_CORE)") }
  }

  /// e_phnum, or where that is PN_XNUM (too many for 16 bits) sh_info of section header 0.
  private func programHeaderCount() throws(MemoryError) -> UInt64 {
    let count = try field(56, UInt16.self, of: "the ELF header")
    guard count == 0xffff else { return UInt64(count) }
    let sections = try field(40, UInt64.self, of: "the ELF header")
    guard sections > 0 else {
      throw .malformedCore(path: file.path, offset: 40, reason: "e_phnum is PN_XNUM, but e_shoff is 0")
    }
    try check("section header 0", at: sections, size: Self.sectionHeaderSize)
    return UInt64(try field(sections + 44, UInt32.self, of: "section header 0"))
  }

  private func segment(at header: UInt64, index: UInt64) throws(MemoryError) -> Segment? {
    let name = "program header \(index)"
    guard try field(header, UInt32.self, of: name) == 1 else { return nil }
    let offset = try field(header + 8, UInt64.self, of: name)
    let virtual = try field(header + 16, UInt64.self, of: name)
    let physical = try field(header + 24, UInt64.self, of: name)
    let stored = try field(header + 32, UInt64.self, of: name)
    let claimed = try field(header + 40, UInt64.self, of: name)
    guard stored <= claimed else {
      throw .malformedCore(
        path: file.path, offset: header + 32, reason: "p_filesz \(hex(stored)) is greater than p_memsz \(hex(claimed))")
    }
    guard claimed > 0 else { return nil }
    guard !physical.addingReportingOverflow(claimed - 1).overflow else {
      throw .malformedCore(
        path: file.path, offset: header + 24,
        reason: "\(hex(claimed)) bytes from p_paddr \(hex(physical)) pass the end of the address space")
    }
    try check("segment \(index) (guest-physical \(hex(physical)))", at: offset, size: stored)
    guard stored > 0 else { return nil }
    return Segment(range: try MemoryRange(start: GPA(physical), size: stored), offset: offset, virtual: virtual)
  }

  private func check(_ what: String, at offset: UInt64, size: UInt64) throws(MemoryError) {
    let end = offset.addingReportingOverflow(size)
    guard !end.overflow, end.partialValue <= file.size else {
      throw .truncated(path: file.path, what: what, needed: end.overflow ? .max : end.partialValue, size: file.size)
    }
  }

  private func field<Value: FixedWidthInteger & BitwiseCopyable>(
    _ offset: UInt64, _ type: Value.Type, of what: String
  ) throws(MemoryError) -> Value {
    try check(what, at: offset, size: UInt64(MemoryLayout<Value>.size))
    return Value(littleEndian: file.base.loadUnaligned(fromByteOffset: Int(truncatingIfNeeded: offset), as: type))
  }
}
