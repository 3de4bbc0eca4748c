public import PageTables

/// Finds the fastest way to the RAM of a QEMU on this machine, and proves that it is the guest that the debugger sees.
public struct GuestMemoryResolver {
  /// Answers a command of QEMU's monitor (HMP), without prompt and echo.
  public typealias Monitor = (_ command: String) throws -> String

  /// The way that was found.
  public struct Resolution {
    /// The memory of all that was reached.
    public let source: any PhysicalMemory
    /// Which way is in use and why: one sentence or two, for a status line.
    public let explanation: String
    /// What reads as memory and was reached.
    public let reached: [RAMRegion]
    /// What reads as memory and was not. Put a ``CallableMemory`` behind `source` to have it too.
    public let missed: [RAMRegion]
  }

  private let process: QEMUProcess
  private let monitor: Monitor?
  private let debugger: CallableMemory.Reader?

  /// A resolver for the guest in `process`.
  ///
  /// - Parameters:
  ///   - process: from ``QEMUProcess/init(behind:)``.
  ///   - monitor: asks the same QEMU; nil where it cannot be asked, and then ``locate()`` fails.
  ///   - debugger: reads guest-physical memory in the slow, certain way; the fast way is compared with it. Nil: not compared.
  public init(process: QEMUProcess, monitor: Monitor?, debugger: CallableMemory.Reader?) {
    self.process = process
    self.monitor = monitor
    self.debugger = debugger
  }

  /// Where a region lies in QEMU's own address space.
  public struct Place: Hashable, Sendable {
    /// The region.
    public let region: RAMRegion
    /// QEMU's address of its first byte; nil where QEMU does not tell.
    public let host: HVA?

    /// A place.
    public init(region: RAMRegion, host: HVA?) { (self.region, self.host) = (region, host) }
  }

  /// Asks the monitor where RAM is now. Memory that was resolved stays good as long as the answer is the same.
  ///
  /// Throws where the monitor does not answer, and where it refuses to tell of every region.
  public func locate() throws(MemoryError) -> [Place] {
    var places: [Place] = []
    var refusal: MemoryError?
    for region in try RAMRegion.all(inMemoryTree: try ask(RAMRegion.memoryTreeCommand)) {
      let answer = try ask(region.hostAddressCommand)
      do throws(MemoryError) {
        places.append(Place(region: region, host: try region.hostAddress(in: answer)))
      } catch {
        refusal = error
        places.append(Place(region: region, host: nil))
      }
    }
    if let refusal, places.allSatisfy({ $0.host == nil }) { throw refusal }
    return places
  }

  /// What the monitor tells of, resolved. Throws as ``locate()`` and ``resolve(_:)`` do.
  public func resolve() throws(MemoryError) -> Resolution { try resolve(try locate()) }

  /// Takes for each region the file behind it, else the process's memory.
  ///
  /// Throws where not one region can be reached (with the reason of the last attempt), and
  /// ``MemoryError/anotherGuest(address:place:)`` where the bytes are not those that the debugger reads.
  public func resolve(_ places: [Place]) throws(MemoryError) -> Resolution {
    var plan = Plan()
    let mappings = try ProcessMapping.all(ofProcess: process.pid)
    for place in places {
      guard let host = place.host else { continue }
      if let parts = ProcessMapping.fileRegions(of: place.region.range, at: host, in: mappings) {
        plan.files.append((place.region, parts))
      } else {
        plan.process.append((place.region, ProcessMemory.Region(range: place.region.range, host: host)))
      }
    }
    let found = try open(plan)
    let proof = try compare(found.source, place: found.place, regions: found.reached)
    return Resolution(
      source: found.source, explanation: found.explanation + proof, reached: found.reached,
      missed: places.map(\.region).filter { !found.reached.contains($0) })
  }

  /// Which way each region goes.
  private struct Plan {
    var files: [(region: RAMRegion, parts: [MappedFileMemory.Region])] = []
    var process: [(region: RAMRegion, place: ProcessMemory.Region)] = []
  }

  private struct Found {
    let source: any PhysicalMemory
    let place: String
    let explanation: String
    let reached: [RAMRegion]
  }

  private func open(_ plan: Plan) throws(MemoryError) -> Found {
    let inFiles = plan.files.map(\.region)
    let inProcess = plan.process.map(\.region)
    let owner = "process \(process.pid) (\(process.name))"
    var process: ProcessMemory?
    var refusal: MemoryError?
    if !plan.process.isEmpty {
      do throws(MemoryError) {
        process = try ProcessMemory(pid: self.process.pid, regions: plan.process.map(\.place))
      } catch { refusal = error }
    }
    guard !plan.files.isEmpty else {
      guard let process else { throw refusal ?? .noMemory(place: "Process \(self.process.pid)") }
      return Found(
        source: process, place: "The memory of \(owner)",
        explanation: "process_vm_readv on \(owner), for want of a shared file: \(Self.list(inProcess)).",
        reached: inProcess)
    }
    let files = try MappedFileMemory(regions: plan.files.flatMap(\.parts))
    let paths = Set(plan.files.flatMap { $0.parts.map(\.path) }).sorted().joined(separator: ", ")
    let mapped = "\(paths), mapped, the RAM file of \(owner): \(Self.list(inFiles))."
    guard let process else {
      var rest = inProcess.isEmpty ? "" : " Not reached: \(Self.list(inProcess))."
      // Tables lie in RAM; without ROM nobody needs the advice.
      if let refusal, inProcess.contains(where: { $0.kind == .ram }) { rest += " \(refusal)" }
      return Found(source: files, place: paths, explanation: mapped + rest, reached: inFiles)
    }
    return Found(
      source: OverlayMemory([files, process]), place: "\(paths) or the memory of \(owner)",
      explanation: mapped + " By process_vm_readv: \(Self.list(inProcess)).",
      reached: inFiles + inProcess)
  }

  private static func list(_ regions: [RAMRegion]) -> String {
    regions.map { "\($0.kind.rawValue) \($0.range)" }.joined(separator: ", ")
  }

  private func ask(_ command: String) throws(MemoryError) -> String {
    guard let monitor else { throw .monitorFailed(command: command, reason: "there is none") }
    do { return try monitor(command) } catch {
      throw .monitorFailed(command: command, reason: String(describing: error))
    }
  }
}

// MARK: - The proof

extension GuestMemoryResolver {
  private static let sampleSize = 64
  private static let samplesARegion = 16
  private static let samplesCompared = 4

  /// Compares some bytes of `source` with what the debugger reads; a sentence about it.
  private func compare(
    _ source: any PhysicalMemory, place: String, regions: [RAMRegion]
  ) throws(MemoryError) -> String {
    guard let debugger else { return " Not compared with what the debugger reads." }
    let samples = samples(of: source, regions: regions)
    guard !samples.isEmpty else { throw .noMemory(place: place) }
    for (address, bytes) in samples {
      guard try read(address, count: bytes.count, debugger) != bytes else { continue }
      // A guest that runs may have written in between; two reads in a row that differ are another guest.
      let again = try? source.bytes(at: address, count: bytes.count)
      guard try read(address, count: bytes.count, debugger) == again else {
        throw .anotherGuest(address: address, place: place)
      }
    }
    let count = samples.reduce(0) { $0 + $1.bytes.count }
    return " Compared with the debugger's view: \(count) bytes at \(samples.count) places."
  }

  private func read(
    _ address: GPA, count: Int, _ debugger: CallableMemory.Reader
  ) throws(MemoryError) -> [UInt8] {
    do { return try debugger(address, count) } catch {
      throw .cannotCompare(address: address, reason: String(describing: error))
    }
  }

  /// Places spread over the regions; those that are not all zero, as any guest's untouched memory is, come first.
  private func samples(of source: any PhysicalMemory, regions: [RAMRegion]) -> [(address: GPA, bytes: [UInt8])] {
    var telling: [(address: GPA, bytes: [UInt8])] = []
    var zero: [(address: GPA, bytes: [UInt8])] = []
    // RAM before ROM: two guests of one kind have the same ROM.
    for region in regions.sorted(by: { Self.rank($0) < Self.rank($1) }) {
      let step = max(4096, region.range.size / UInt64(Self.samplesARegion) & ~0xfff)
      for position in 0..<UInt64(Self.samplesARegion) where position &* step < region.range.size {
        let offset = position * step
        let count = Int(truncatingIfNeeded: min(UInt64(Self.sampleSize), region.range.size - offset))
        guard let bytes = try? source.bytes(at: region.range.start + offset, count: count) else { continue }
        if bytes.contains(where: { $0 != 0 }) {
          telling.append((region.range.start + offset, bytes))
        } else {
          zero.append((region.range.start + offset, bytes))
        }
      }
    }
    return Array((telling + zero).prefix(Self.samplesCompared))
  }

  private static func rank(_ region: RAMRegion) -> Int { region.kind == .ram ? 0 : 1 }
}
