import Images

/// How cost grows with size: what `growth.py` draws.
enum Growth {
  /// Hands out lines of what was measured, its size, its seconds and, for a dump, those of a memcpy of the tables.
  static func points(_ say: (String) -> Void) throws {
    let sizes = Array(stride(from: 10, through: 24, by: 2))
    let shapes: [Image.Shape] = [.runs, .rand]
    let commands = shapes.flatMap { shape in sizes.map { ["dump", shape.rawValue, "\($0)"] } }
    for (command, found) in zip(commands, try Measurement.interleaved(commands)) {
      let (dump, memcpy) = (found.median { $0("dump") }, found.median { $0("memcpy") })
      say("dump, \(command[1])\t\(Int(found.median { $0("leaves") }))\t\(dump)\t\(memcpy)")
    }
    try Events.inFolder { folder in
      for shift in [30, 48] {
        for count in [10_000, 40_000, 160_000, 640_000, 1_000_000, 4_000_000] {
          let path = "\(folder)/check-\(shift)-\(count)"
          try Events.store([path, "\(count)", "\(shift)"])
          let seconds = try (0..<3).map { _ in try Measurement.inProcess(["check", path])["seconds"] ?? .nan }.median
          say("check, \(shift == 30 ? "right" : "wrong") root shift\t\(count)\t\(seconds)\t")
        }
      }
    }
  }
}
