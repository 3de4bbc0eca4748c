import Children
import Glibc
import GuestMemory
import PageTables
import Testing

extension ProcessTests {
  /// One guest seen in every way there is.
  @Suite(.serialized) struct WithQEMU {
    @Test func allWaysToTheSameGuestShowTheSameBytes() throws {
      let qemu = try QEMU(sharesRAM: true, seed: 7)
      let base = GPA(QEMU.ramStart)
      let core = "\(qemu.folder.path)/core"
      #expect(try qemu.stub.monitor("dump-guest-memory \(core)") == "")
      let regions = try RAMRegion.all(inMemoryTree: try qemu.stub.monitor(RAMRegion.memoryTreeCommand))
      let ram = try #require(regions.first { $0.kind == .ram })
      #expect(ram.range == (try MemoryRange(start: base, size: 64 << 20)))
      let host = try ram.hostAddress(in: try qemu.stub.monitor(ram.hostAddressCommand))

      let dumped = try ELFCoreMemory(path: core)
      let mapped = try MappedFileMemory(path: qemu.ramFile, base: base)
      let live = try ProcessMemory(pid: qemu.process.pid, regions: [.init(range: ram.range, host: host)])
      let debugger = CallableMemory(ranges: [ram.range], reader: qemu.stub.read)

      let blob = GPA(QEMU.blobStart)
      #expect(try dumped.bytes(at: blob, count: qemu.blob.count) == qemu.blob)
      #expect(try mapped.bytes(at: blob, count: qemu.blob.count) == qemu.blob)
      #expect(try live.bytes(at: blob, count: qemu.blob.count) == qemu.blob)
      #expect(try debugger.bytes(at: blob, count: qemu.blob.count) == qemu.blob)
      // All 64 MiB, with the firmware that QEMU itself put there.
      let all = try mapped.bytes(at: base, count: 64 << 20)
      #expect(try dumped.bytes(at: base, count: 64 << 20) == all)
      #expect(try live.bytes(at: base, count: 64 << 20) == all)
      // The core has ROM too, and nothing behind RAM.
      #expect(try dumped.bytes(at: GPA(0x1000), count: 64) == (try qemu.stub.read(GPA(0x1000), 64)))
      #expect(throws: UnreadableMemory.self) { try dumped.word(at: GPA(0x8400_0000)) }

      let pages = stride(from: 0, to: 64, by: 3).map { blob + UInt64($0 * 4096) }
      var buffer = [UInt8](repeating: 0, count: pages.count * 4096)
      #expect(buffer.withUnsafeMutableBytes { live.readPages(pages, into: $0) } == pages.count)
      var expected: [UInt8] = []
      for page in stride(from: 0, to: 64, by: 3) { expected += qemu.blob[page * 4096..<(page + 1) * 4096] }
      #expect(buffer == expected)
    }

    @Test(arguments: [QEMU.Connection.unix, .tcp])
    func sharedRAMIsMappedAndTheRestReadFromTheProcess(connection: QEMU.Connection) throws {
      let qemu = try QEMU(sharesRAM: true, connection: connection)
      let process = try QEMUProcess(behind: qemu.remote)
      #expect(process.pid == qemu.process.pid && process.name == "qemu-system-ris")
      let found = try GuestMemoryResolver(process: process, monitor: qemu.stub.monitor, debugger: qemu.stub.read)
        .resolve()
      #expect(
        found.explanation
          == "\(qemu.ramFile), mapped, the RAM file of process \(process.pid) (qemu-system-ris): "
          + "ram 0x80000000-0x83ffffff. By process_vm_readv: "
          + "rom 0x1000-0xffff, romd 0x20000000-0x21ffffff, romd 0x22000000-0x23ffffff. "
          + "Compared with the debugger's view: 256 bytes at 4 places.")
      #expect(found.source.residentPage(GPA(QEMU.blobStart)) != nil)
      #expect(try found.source.bytes(at: GPA(QEMU.blobStart), count: 4096) == Array(qemu.blob[..<4096]))
      #expect(try found.source.bytes(at: GPA(0x1000), count: 64) == (try qemu.stub.read(GPA(0x1000), 64)))
      #expect(found.missed.isEmpty && found.reached.count == 4)
    }

    @Test func privateRAMIsReadFromTheProcess() throws {
      let qemu = try QEMU(sharesRAM: false)
      let process = try QEMUProcess(behind: qemu.remote)
      let found = try GuestMemoryResolver(process: process, monitor: qemu.stub.monitor, debugger: nil).resolve()
      #expect(
        found.explanation == "process_vm_readv on process \(process.pid) (qemu-system-ris), for want of a shared file: "
          + "rom 0x1000-0xffff, romd 0x20000000-0x21ffffff, romd 0x22000000-0x23ffffff, ram 0x80000000-0x83ffffff. "
          + "Not compared with what the debugger reads.")
      #expect(found.source.residentPage(GPA(QEMU.blobStart)) == nil)
      #expect(try found.source.bytes(at: GPA(QEMU.blobStart), count: 4096) == Array(qemu.blob[..<4096]))
    }

    @Test func anotherGuestsMemoryIsRefused() throws {
      let mine = try QEMU(sharesRAM: true, seed: 1)
      let other = try QEMU(sharesRAM: true, seed: 2)
      let process = try QEMUProcess(pid: other.process.pid)
      // The other process, asked about with its own addresses, against this guest's bytes.
      let resolver = GuestMemoryResolver(process: process, monitor: other.stub.monitor, debugger: mine.stub.read)
      let failure = #expect(throws: MemoryError.self) { try resolver.resolve() }
      guard case .anotherGuest(let address, _) = failure else {
        Issue.record("\(String(describing: failure))")
        return
      }
      #expect(address >= GPA(QEMU.blobStart) && address < GPA(QEMU.blobStart) + UInt64(mine.blob.count))
      // The other process, asked about with this guest's addresses.
      #expect(throws: MemoryError.self) {
        try GuestMemoryResolver(process: process, monitor: mine.stub.monitor, debugger: mine.stub.read).resolve()
      }
    }

    @Test func aMonitorThatFailsSaysWhichCommand() throws {
      let process = try QEMUProcess(pid: getpid())
      let silent = GuestMemoryResolver(process: process, monitor: { _ in throw TestFailure("timeout") }, debugger: nil)
      #expect(
        text { try silent.resolve() }
          == "The monitor command 'info mtree -f' failed: timeout. Check that GDB is connected to QEMU's stub.")
    }
  }
}
