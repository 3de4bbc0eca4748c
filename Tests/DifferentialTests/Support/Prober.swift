import Children
import Foundation

/// A processor of QEMU's that accesses memory through page tables as it is told: Guest/prober.S, in a machine with hardly
/// any device and with RAM that this process shares.
final class Prober {
  /// What is asked for, and what the program calls it.
  enum Operation: UInt64, CaseIterable {
    case load
    case store
    case fetch
    /// Through a second stage alone.
    case guestLoad
    case guestStore
    /// Through a first stage, with a second one that maps RAM to itself and tells all other addresses.
    case tracedLoad

    var isStore: Bool { self == .store || self == .guestStore }
  }

  struct Request {
    var root: UInt64
    /// mstatus.
    var status: UInt64
    var address: UInt64
    var operation: Operation
    /// What to store.
    var value: UInt64 = 0
  }

  struct Answer {
    /// What was loaded.
    let value: UInt64
    /// The trap's cause; nil for none.
    let cause: UInt64?
    /// The address that the second stage refused.
    let place: UInt64
  }

  static let start: UInt64 = 0x8000_0000
  static let size: UInt64 = 1 << 30
  static let limit = 8192
  /// The program's page. QEMU 7.2 looks for what machine mode executes and for what it loads under MPRV in one TLB, so this
  /// address cannot be asked about.
  static let program: UInt64 = 0x8010_0000
  private static let count: UInt64 = 0x8011_0000
  private static let requests: UInt64 = 0x8011_1000
  private static let identity: UInt64 = 0x801f_0000

  /// RAM, from its start on.
  let ram: UnsafeMutableRawPointer
  private let folder: URL
  private let machine: Child
  private let registerBits: UInt64

  init(_ processor: Processor) throws {
    registerBits = processor.isWide ? 64 : 32
    folder = FileManager.default.temporaryDirectory.appending(path: "iommulens-prober-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    let program = folder.appending(path: "prober.elf").path
    let source = URL(filePath: #filePath).appending(path: "../../Guest/prober.S").standardizedFileURL.path
    let compiler = try Child(
      "riscv64-linux-gnu-gcc",
      (processor.isWide ? ["-march=rv64imac_zicsr", "-mabi=lp64"] : ["-march=rv32imac_zicsr", "-mabi=ilp32"]) + [
        "-nostdlib", "-static", "-Wl,-N,--no-warn-rwx-segments,--build-id=none",
        "-Wl,--section-start=.reset=0x80000000,-Ttext=0x80100000", source, "-o", program,
      ])
    guard try wait(for: "end of the compiler", { compiler.status }) == 0 else {
      throw TestFailure("\(source) does not compile.")
    }

    let path = folder.appending(path: "ram").path
    let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(file) }
    guard file >= 0, ftruncate(file, Int(Self.size)) == 0,
      let ram = mmap(nil, Int(Self.size), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), ram != MAP_FAILED
    else { throw TestFailure("\(path) cannot be mapped.") }
    self.ram = ram

    // The guest never rests: should this process end without a chance to clean up, an hour of it is the most.
    machine = try Child(
      "prlimit",
      [
        "--cpu=3600", processor.isWide ? "qemu-system-riscv64" : "qemu-system-riscv32", "-M", "spike",
        "-cpu", processor.model, "-bios", "none", "-kernel", program, "-m", "1G", "-display", "none", "-nodefaults",
        "-object", "memory-backend-file,id=m,size=1G,mem-path=\(path),share=on", "-machine", "memory-backend=m",
      ])
    // An Sv57x4 root, and below it one leaf for RAM.
    self[Self.identity] = (Self.identity + 0x4000) >> 2 | 1
    self[Self.identity + 0x4000] = (Self.identity + 0x5000) >> 2 | 1
    self[Self.identity + 0x5000 + 16] = Self.start >> 2 | 0xd7
  }

  deinit {
    munmap(ram, Int(Self.size))
    try? FileManager.default.removeItem(at: folder)
  }

  /// The word at an address in RAM.
  subscript(address: UInt64) -> UInt64 {
    get { UInt64(littleEndian: (ram + Int(address - Self.start)).loadUnaligned(as: UInt64.self)) }
    set { (ram + Int(address - Self.start)).storeBytes(of: newValue.littleEndian, as: UInt64.self) }
  }

  /// What comes of the requests, at most ``limit`` of them, one after the other.
  func answers(to requests: [Request]) throws -> [Answer] {
    for (position, request) in requests.enumerated() {
      let at = Self.requests + UInt64(position) * 64
      let fields = [request.root, request.status, request.address, request.operation.rawValue, request.value]
      for (index, field) in fields.enumerated() { self[at + UInt64(index) * 8] = field }
    }
    self[Self.count] = UInt64(requests.count)
    var turns = 0
    while self[Self.count] != 0 {
      turns += 1
      guard turns < 300_000, machine.status == nil else { throw TestFailure("The guest does not answer.") }
      usleep(100)
    }
    let mask = UInt64.max >> (64 - registerBits)
    return requests.indices.map { position in
      let at = Self.requests + UInt64(position) * 64
      let value = self[at + 32] & mask | (registerBits == 32 ? self[at + 40] << 32 : 0)
      let cause = self[at + 48] & mask
      return Answer(value: value, cause: cause == mask ? nil : cause, place: self[at + 56])
    }
  }
}
