// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

// The page tables and their tests alone, by links to the real ones: a million tables under the address sanitizer are an
// affair of minutes in release mode, and nothing else need be built that way.
let package = Package(
  name: "Million",
  targets: [
    .systemLibrary(name: "CPrefetch"),
    .target(name: "PageTables", dependencies: ["CPrefetch"], swiftSettings: strict),
    .target(name: "Randomness", swiftSettings: strict),
    .testTarget(name: "PageTablesTests", dependencies: ["PageTables", "Randomness"], swiftSettings: strict),
  ]
)
