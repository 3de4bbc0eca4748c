import CZlib
import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import LinuxKernel

/// The configuration that a kernel carries: a real one's, Fixtures/kernel-log, and what a damaged one is told to be.
@Suite struct EmbeddedConfigurationTests {
  private func told(_ captured: CapturedKernel) throws -> EmbeddedConfiguration {
    EmbeddedConfiguration(in: captured.target, kernel: try captured.kernel())
  }

  /// Linux 6.1 without KVM, as the lab builds it.
  @Test func captured() throws {
    let captured = try CapturedKernel()
    guard case .found(let configuration) = try told(captured) else {
      Issue.record("\(try told(captured))")
      return
    }
    #expect(configuration.version == KernelVersion(major: 6, minor: 1) && configuration.isWhole)
    #expect(configuration.options.count > 800)
    #expect(configuration.options["XUANTIE_IOMMU"] == "y" && configuration.options["IKCONFIG"] == "y")
    #expect(configuration.options["VFIO_NOIOMMU"] == .some(nil))
    #expect(
      configuration.summary == "all as needed; not needed: VFIO_CONTAINER (from 6.2 on), KVM_VFIO (no KVM)")
  }

  @Test func notCompiledIn() throws {
    for symbol in ["kernel_config_data", "kernel_config_data_end"] {
      let captured = try CapturedKernel()
      captured.target.values["(unsigned long)&\(symbol)"] = nil
      #expect(try told(captured) == .absent)
    }
  }

  /// What is wrong with it, and where.
  @Test func damaged() throws {
    func told(_ change: (CapturedKernel, GPA, Int) throws -> Void) throws -> String {
      let captured = try CapturedKernel()
      let start = try captured.physical("(unsigned long)&kernel_config_data")
      let end = try captured.physical("(unsigned long)&kernel_config_data_end")
      try change(captured, start, Int(end - start))
      guard case .unreadable(let why) = try self.told(captured) else { return "\(try self.told(captured))" }
      let place = KVA(try captured.target.evaluate("(unsigned long)&kernel_config_data"))
      return why.replacing("\(place)", with: "START").replacing("\(Int(end - start)) bytes", with: "COUNT bytes")
    }
    let unmarked =
      "The configuration at START is not between the marks IKCFG_ST and IKCFG_ED: the symbols are another kernel's, or its "
      + "memory is damaged."
    let broken = "The COUNT bytes of configuration at START are no gzip data, or damaged."
    #expect(try told { captured, start, _ in captured.memory.write([0], at: GPA(start.rawValue - 8)) } == unmarked)
    #expect(try told { captured, start, count in captured.memory.write([0], at: start + UInt64(count)) } == unmarked)
    #expect(try told { captured, start, _ in captured.memory.write([0], at: start) } == broken)
    #expect(try told { captured, start, _ in captured.memory.write([0, 1, 2, 3], at: start + 4000) } == broken)
    // Only the checksum tells.
    #expect(
      try told { captured, start, count in captured.memory.write([0x5a], at: start + UInt64(count - 8)) } == broken)
    for (bytes, why) in [
      (try gzip([UInt8](repeating: 0x20, count: EmbeddedConfiguration.limit + 1)), "unzip to more than 4194304 bytes"),
      (try gzip([UInt8]("CONFIG_PCI=y\n".utf8)).dropLast(9), "end in the middle of gzip data"),
    ] as [([UInt8], String)] {
      #expect(
        try told { captured, start, _ in
          captured.memory.write(bytes + Array("IKCFG_ED".utf8), at: start)
          captured.target.values["(unsigned long)&kernel_config_data_end"] =
            try captured.target.evaluate("(unsigned long)&kernel_config_data") + UInt64(bytes.count)
        } == "The \(bytes.count) bytes of configuration at START \(why).")
    }
    #expect(
      try told { captured, start, _ in
        let bytes = try gzip(Array("# nothing\n".utf8))
        captured.memory.write(bytes + Array("IKCFG_ED".utf8), at: start)
        captured.target.values["(unsigned long)&kernel_config_data_end"] =
          try captured.target.evaluate("(unsigned long)&kernel_config_data") + UInt64(bytes.count)
      } == "The configuration at START unzips to 10 bytes that set no option.")
    for (start, end): (UInt64, UInt64) in [(4, 8), (0x8000_0000, 0x7fff_ffff), (0x9000_0000, 0x8000_0000), (8, .max)] {
      #expect(
        try told { captured, _, _ in
          captured.target.values["(unsigned long)&kernel_config_data"] = start
          captured.target.values["(unsigned long)&kernel_config_data_end"] = end
        } == "kernel_config_data is at START and kernel_config_data_end at \(KVA(end)): no configuration lies there.")
    }
  }

  /// However it is damaged, it is told as damaged or read as it was.
  @Test func anyDamage() throws {
    var numbers = SeededNumbers()
    let captured = try CapturedKernel()
    let whole = try told(captured)
    let start = try captured.physical("(unsigned long)&kernel_config_data")
    let end = try captured.physical("(unsigned long)&kernel_config_data_end")
    let bytes = try captured.memory.bytes(at: start, count: Int(end - start))
    for _ in 0..<300 {
      let offset = Int.random(in: 0..<bytes.count, using: &numbers)
      let damage = numbers.bytes(Int.random(in: 1...16, using: &numbers)).prefix(bytes.count - offset)
      captured.memory.write(damage, at: start + UInt64(offset))
      switch try told(captured) {
      // The header's time and system are nobody's business, and damage may be what was there.
      case .found(let found): #expect(.found(found) == whole, "IOMMULENS_SEED=\(numbers.seed), offset \(offset)")
      case .absent: Issue.record("IOMMULENS_SEED=\(numbers.seed), offset \(offset)")
      case .unreadable: break
      }
      captured.memory.write(bytes[offset..<offset + damage.count], at: start + UInt64(offset))
    }
    #expect(try told(captured) == whole)
  }

  /// `bytes` in gzip's format.
  private func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
    var stream = z_stream()
    try #require(
      deflateInit2_(
        &stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        == Z_OK)
    defer { deflateEnd(&stream) }
    var input = bytes
    var output = [UInt8](repeating: 0, count: bytes.count + 1024)
    let status = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output in
        (stream.next_in, stream.avail_in) = (input.baseAddress, uInt(input.count))
        (stream.next_out, stream.avail_out) = (output.baseAddress, uInt(output.count))
        return deflate(&stream, Z_FINISH)
      }
    }
    try #require(status == Z_STREAM_END)
    return Array(output.prefix(output.count - Int(stream.avail_out)))
  }
}
