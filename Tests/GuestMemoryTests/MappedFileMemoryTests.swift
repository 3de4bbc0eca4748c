import Glibc
import GuestMemory
import PageTables
import Testing

@Suite struct MappedFileMemoryTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  @Test func aFileIsReadWhereItsBaseSays() throws {
    let path = try folder.file("ram", (0..<8192).map { UInt8($0 / 4096 + 1) })
    let memory = try MappedFileMemory(path: path, base: GPA(0x8000_0000))
    #expect(try memory.bytes(at: GPA(0x8000_0ffe), count: 4) == [1, 1, 2, 2])
    #expect(memory.residentPage(GPA(0x8000_1000))?.load(as: UInt8.self) == 2)
    #expect(memory.residentPage(GPA(0x8000_2000)) == nil)
  }

  @Test func whatTheGuestWritesLaterIsSeen() throws {
    let path = try folder.file("ram", [UInt8](repeating: 0, count: 4096))
    let memory = try MappedFileMemory(path: path, base: GPA(0))
    #expect(try memory.word(at: GPA(8)) == 0)
    let file = open(path, O_WRONLY | O_CLOEXEC)
    defer { close(file) }
    var word: UInt64 = 0x202f_4801
    #expect(pwrite(file, &word, 8, 8) == 8)
    #expect(try memory.word(at: GPA(8)) == 0x202f_4801)
  }

  @Test func aRegionEndsWhereItsFileEnds() throws {
    let path = try folder.file("ram", [UInt8](repeating: 7, count: 6000))
    let range = try MemoryRange(start: GPA(0x8000_0000), size: 0x10_0000)
    let memory = try MappedFileMemory(regions: [.init(range: range, path: path, fileOffset: 0x400)])
    #expect(try memory.bytes(at: GPA(0x8000_0000), count: 6000 - 0x400).allSatisfy { $0 == 7 })
    let failure = #expect(throws: UnreadableMemory.self) { try memory.bytes(at: GPA(0x8000_1000), count: 4096) }
    #expect(
      failure?.description == "Cannot read guest-physical address 0x80001370: "
        + "outside \(path), which holds 0x80000000-0x8000136f.")
  }

  @Test func aFileThatIsCutShorterIsTold() throws {
    let path = try folder.file("core", [UInt8](repeating: 7, count: 3 * 4096))
    let memory = try MappedFileMemory(path: path, base: GPA(0))
    let before = MappedFiles.lostPages
    #expect(try MappedFiles.unlessCut { try memory.word(at: GPA(0x2000)) } == 0x0707_0707_0707_0707)
    try #require(truncate(path, 4096) == 0)
    #expect(try MappedFiles.unlessCut { try memory.word(at: GPA(0)) } == 0x0707_0707_0707_0707)
    for address in [0x1000, 0x2000] {
      #expect(
        throws: MemoryError.cutShort(path: path),
        performing: {
          try MappedFiles.unlessCut { memory.residentPage(GPA(UInt64(address)))?.load(as: UInt64.self) }
        })
    }
    // A page is lost once; what it holds then is zeros.
    #expect(try MappedFiles.unlessCut { try memory.word(at: GPA(0x2000)) } == 0)
    #expect(MappedFiles.lostPages >= before + 2)
  }

  @Test func aBusErrorElsewhereStillEndsTheProgram() async throws {
    let path = try folder.file("other", [UInt8](repeating: 7, count: 4096))
    let guarded = try folder.file("guarded", [UInt8](repeating: 7, count: 4096))
    await #expect(processExitsWith: .signal(SIGBUS)) { [path = path as String, guarded = guarded as String] in
      let memory = try MappedFileMemory(path: guarded, base: GPA(0))
      let file = open(path, O_RDONLY)
      let page = try #require(mmap(nil, 4096, PROT_READ, MAP_SHARED, file, 0))
      truncate(path, 0)
      print(page.load(as: UInt8.self), memory)
    }
  }

  @Test func whatCannotBeMappedIsNamed() throws {
    let empty = try folder.file("empty", [])
    let short = try folder.file("short", [1, 2, 3])
    let pipe = folder.path + "/pipe"
    try #require(mkfifo(pipe, 0o600) == 0)
    #expect(
      text { try MappedFileMemory(path: folder.path + "/none", base: GPA(0)) }
        == "Cannot open \(folder.path)/none: No such file or directory. Check the path and that this user may read it.")
    for path in [folder.path, pipe, "/dev/null"] {
      #expect(
        text { try MappedFileMemory(path: path, base: GPA(0)) }
          == "\(path) is not a regular file. Give the file behind guest RAM (mem-path) or a core.")
    }
    #expect(
      text { try MappedFileMemory(path: empty, base: GPA(0)) }
        == "\(empty) holds no guest memory. Check that it belongs to the guest under investigation.")
    let range = try MemoryRange(start: GPA(0x8000_0000), size: 0x1000)
    #expect(
      text { try MappedFileMemory(regions: [.init(range: range, path: short, fileOffset: 3)]) }
        == "\(short) is truncated: guest RAM 0x80000000-0x80000fff ends at byte 0x1003, the file has 0x3. "
        + "Write it again, with room on the disk, and wait until it is complete.")
    #expect(
      text { try MappedFileMemory(path: short, base: GPA(.max)) }
        == "A range of 0x3 bytes from 0xffffffffffffffff is empty or passes the end of the address space. "
        + "Correct its start or size.")
    #expect(
      text { try MappedFileMemory(regions: []) }
        == "A list of no files holds no guest memory. Check that it belongs to the guest under investigation.")
  }
}

/// The text of the error, or that there was none.
func text<Value>(_ body: () throws -> Value) -> String {
  do { return "no error: \(try body())" } catch { return String(describing: error) }
}
