import Foundation
import PageTables
import RISCVInterpreter
import Testing

/// Programs/functions.c, compiled for the guest and laid out at a kernel's address.
struct GuestProgram {
  static let base = KVA(0xffff_ffff_8000_0000)
  static let source = path(of: "functions.c")

  /// The source `name` of Programs.
  static func path(of name: String) -> String {
    URL(filePath: #filePath).appending(path: "../../Programs").standardizedFileURL.appending(path: name).path
  }

  /// The bytes from ``base`` on.
  let image: [UInt8]
  /// Where every symbol lies.
  let symbols: [String: UInt64]

  /// A program that was compiled before, with other bytes.
  init(image: [UInt8], symbols: [String: UInt64]) {
    self.image = image
    self.symbols = symbols
  }

  /// Compiles with `options`: a level of optimisation, mostly.
  init(_ options: [String], source: String = source) async throws {
    let folder = try TemporaryFolder()
    _ = try await output(
      "riscv64-linux-gnu-gcc",
      ["-march=rv64imac"] + options + [
        "-mabi=lp64", "-mcmodel=medany", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-w",
        "-nostdlib", "-static", "-Wl,-e,capable,--build-id=none,-Ttext-segment=\(Self.base)", source, "-o",
        folder.path("elf"),
      ])
    _ = try await output("riscv64-linux-gnu-objcopy", ["-O", "binary", folder.path("elf"), folder.path("image")])
    var symbols: [String: UInt64] = [:]
    var first = UInt64.max
    for line in try await output("riscv64-linux-gnu-nm", [folder.path("elf")]).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3, let address = UInt64(words[0], radix: 16) else { continue }
      symbols[String(words[2])] = address
    }
    for line in try await output("riscv64-linux-gnu-readelf", ["-SW", folder.path("elf")]).split(separator: "\n") {
      let words = line.split(separator: "]").last?.split(separator: " ") ?? []
      // Sections with an address and contents: `.text PROGBITS ffffffff800000e8 …`.
      guard words.count > 2, let address = UInt64(words[2], radix: 16), words[1] != "NOBITS",
        KVA(address) >= Self.base
      else { continue }
      first = min(first, address)
    }
    self.symbols = symbols
    let gap = Int(first - Self.base.rawValue)
    image = [UInt8](repeating: 0, count: gap) + (try Data(contentsOf: URL(filePath: folder.path("image"))))
  }

  struct Unmapped: Error, CustomStringConvertible {
    let description = "Nothing lies there."
  }

  /// Reads from the image alone.
  func read(_ address: KVA, _ count: Int) throws -> [UInt8] {
    let offset = address - Self.base
    guard offset < UInt64(image.count), UInt64(count) <= UInt64(image.count) - offset else { throw Unmapped() }
    return Array(image[Int(offset)..<Int(offset) + count])
  }

  /// An interpreter over the image, with the gp that the linker counted on.
  func interpreter(threadPointer: UInt64? = nil, limit: Int = 100_000) -> FunctionInterpreter {
    FunctionInterpreter(
      globalPointer: symbols["__global_pointer$"], threadPointer: threadPointer, instructionLimit: limit, read: read)
  }

  /// Where `name` lies.
  func address(_ name: String) throws -> KVA { KVA(try #require(symbols[name], "\(name) is missing")) }
}

/// Programs/functions.c, compiled for this machine and loaded.
final class HostProgram {
  typealias Function = @convention(c) (UInt64, UInt64, UInt64, UInt64) -> UInt64
  private let folder: TemporaryFolder
  private let handle: UnsafeMutableRawPointer

  init() async throws {
    folder = try TemporaryFolder()
    let library = folder.path("functions.so")
    _ = try await output(
      "clang", ["-O1", "-w", "-fwrapv", "-shared", "-fPIC", GuestProgram.source, "-o", library])
    handle = try #require(dlopen(library, RTLD_NOW | RTLD_LOCAL))
  }

  deinit { dlclose(handle) }

  /// The function with this name.
  func function(_ name: String) throws -> Function {
    unsafeBitCast(try #require(dlsym(handle, name), "\(name) is missing"), to: Function.self)
  }
}
