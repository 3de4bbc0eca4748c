import IOMMUModel
import PageTables

extension AddressMap {
  /// The map as a picture: for every table a row for each fate over all addresses, then the areas in use drawn larger.
  var svg: String {
    var canvas = SVGCanvas(width: 1000)
    canvas.text(24, 38, "I/O virtual addresses: what they lead to", size: 20, isBold: true)
    var y = 62.0
    if tables.isEmpty {
      canvas.text(24, y + 10, "Nothing to show: no recorded call covers a page whose table is known.")
      y += 30
    }
    for table in tables.prefix(Self.shownTables) { Self.draw(table, on: &canvas, &y) }
    if tables.count > Self.shownTables {
      canvas.text(
        24, y + 10, "… and \(counted(tables.count - Self.shownTables, "more table")), each with fewer wrong pages.")
      y += 30
    }
    return canvas.document(height: y + 10, title: "What I/O virtual addresses lead to")
  }

  private static let shownTables = 6, shownAreas = 8
  /// Where bars begin, and how wide they are.
  private static let left = 226.0, width = 744.0

  private static func draw(_ table: Table, on canvas: inout SVGCanvas, _ y: inout Double) {
    let name = table.root.map { "\($0.mode.name) table at \($0.address)" } ?? "table not known"
    let devices = table.devices.prefix(4).map(\.description).joined(separator: ", ")
    canvas.rectangle(24, y, 952, 1, fill: "#bbbbbb")
    canvas.text(24, y + 24, name + (devices.isEmpty ? "" : ", \(devices)"), size: 15, isBold: true)
    y += 40
    let top = y
    for fate in Fate.allCases.reversed() {
      let stretches = table.stretches.filter { $0.fate == fate }
      if stretches.isEmpty { continue }
      let pages = stretches.reduce(0) { $0 &+ $1.pages }
      canvas.area(24, y + 3, 14, 14, fate.paint)
      canvas.text(44, y + 15, fate.name, isBold: fate != .mapped)
      canvas.text(left - 10, y + 15, pageCount(pages), size: 12, anchor: .end)
      canvas.rectangle(left, y, width, 20, fill: "#f1f1f1")
      for (start, end) in columns(stretches, 0, table.last) {
        canvas.area(left + Double(start), y, Double(end - start), 20, fate.paint)
      }
      y += 26
    }
    // Ticks at every quarter.
    for quarter in 0...4 {
      let x = left + width * Double(quarter) / 4
      canvas.line([(x, top - 3), (x, y)], "#555555", width: 0.6)
      let address =
        quarter == 0
        ? "0" : quarter == 4 ? end(of: table.last) : end(of: table.last / 4 &* UInt64(quarter) &+ UInt64(quarter) &- 1)
      canvas.text(x, y + 14, address, size: 11, color: "#555555", anchor: quarter == 4 ? .end : .middle)
    }
    y += 34
    let chosen = table.areas.enumerated().sorted {
      ($1.element.wrongPages, $0.offset) < ($0.element.wrongPages, $1.offset)
    }.prefix(shownAreas).sorted { $0.offset < $1.offset }.map(\.element)
    for area in chosen { draw(area, on: &canvas, &y) }
    if table.areas.count > chosen.count {
      canvas.text(left, y + 8, "… and \(counted(table.areas.count - chosen.count, "more area")).", size: 12)
      y += 20
    }
    y += 12
  }

  private static func draw(_ area: Area, on canvas: inout SVGCanvas, _ y: inout Double) {
    let taker = area.stretches.lazy.compactMap(\.taker).first.map { ": entries taken by \(hex($0))" } ?? ""
    canvas.text(left, y + 10, "\(hex(area.first)) to \(hex(area.last))\(taker)", size: 12, isCode: true)
    let pages = area.pages
    let words = Fate.allCases.reversed().compactMap { fate in pages[fate].map { "\($0) \(fate.name)" } }
    canvas.text(left + width, y + 10, "pages: " + words.joined(separator: ", "), size: 12, anchor: .end)
    canvas.rectangle(left, y + 16, width, 16, fill: "#f1f1f1")
    for fate in Fate.allCases {
      for (start, end) in columns(area.stretches.filter { $0.fate == fate }, area.first, area.last) {
        canvas.area(left + Double(start), y + 16, Double(end - start), 16, fate.paint)
      }
    }
    y += 44
  }

  /// The stretches as columns of the picture, between two addresses; at least three wide, so that a page is seen.
  private static func columns(_ stretches: [Stretch], _ first: UInt64, _ last: UInt64) -> [(Int, Int)] {
    let scale = width / (Double(last &- first) + 1)
    var columns: [(Int, Int)] = []
    for stretch in stretches {
      let start = min(Int(Double(stretch.first &- first) * scale), Int(width) - 3)
      let end = min(max(Int((Double(stretch.last &- first) + 1) * scale), start + 3), Int(width))
      if let before = columns.last, start <= before.1 {
        columns[columns.count - 1].1 = max(before.1, end)
      } else {
        columns.append((start, end))
      }
    }
    return columns
  }

  private static func pageCount(_ pages: UInt64) -> String { "\(pages) page\(pages == 1 ? "" : "s")" }

  /// The address behind `last`, as a size where it is one.
  private static func end(of last: UInt64) -> String {
    let (end, overflow) = last.addingReportingOverflow(1)
    return overflow ? "2^64" : end >= 1 << 60 ? hex(end) : size(end)
  }
}

extension AddressMap.Fate {
  /// In words.
  var name: String {
    switch self {
    case .mapped: "right"
    case .refused: "refused"
    case .stale: "stale"
    case .elsewhere: "elsewhere"
    case .missing: "missing"
    }
  }

  fileprivate var paint: SVGCanvas.Paint {
    switch self {
    case .mapped: .blue
    case .refused: .grey
    case .stale: .orange
    case .elsewhere: .purple
    case .missing: .red
    }
  }
}
