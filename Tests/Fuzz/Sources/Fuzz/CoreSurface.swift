import GuestMemory
import PageTables

/// The input as a core file.
struct CoreSurface: Surface {
  private let file = ScratchFile("core")

  func feed(_ input: inout Input) throws {
    let bytes = input.rest()
    try file.write(bytes)
    let core = try ELFCoreMemory(path: file.path)
    for place in [0, 0x1000, 0x7fff_f000, 0x8000_0000, 0x8000_0ff9, UInt64.max - 0xfff, .max].map(GPA.init(_:)) {
      let word = try? core.word(at: place)
      if let page = core.residentPage(place.page) {
        let copy = try core.bytes(at: place.page, count: 4096)
        require(copy.elementsEqual(UnsafeRawBufferPointer(start: page, count: 4096)), "a page is as it is read")
        require(word != nil || place.pageOffset > 4088, "a word of a page can be read")
      }
    }
  }
}
