// The examples of FIPS 180-4 and its edges: every length around a block's end, and any cutting into pieces.
#include "base/sha256.h"

#include <algorithm>
#include <string>

#include "check.h"

namespace voxtral_edge {
namespace {

std::string sha256(const std::string& text, std::size_t piece) {
  Sha256 hash;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    hash.add(text.data() + at, std::min(piece, text.size() - at));
  }
  return hash.finish();
}

}  // namespace

TEST("the standard's examples") {
  CHECK_EQ(sha256("", 1), std::string("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
  CHECK_EQ(sha256("abc", 9), std::string("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  CHECK_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 99),
           std::string("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
  CHECK_EQ(sha256(std::string(1'000'000, 'a'), 4096),
           std::string("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

TEST("lengths around the end of a block, in pieces of any size") {
  // Of the digests of 0 to 199 letters "x", one below the other; made with Python's hashlib.
  std::string all;
  for (std::size_t length = 0; length < 200; ++length) {
    const std::string text(length, 'x');
    const std::string whole = sha256(text, 1000);
    for (const std::size_t piece : {1, 7, 63, 64, 65}) CHECK_EQ(sha256(text, piece), whole);
    all += whole + "\n";
  }
  CHECK_EQ(sha256(all, 1000), std::string("eefa31ba9c6db774cb2535a4059ef29c02021837d737e3a51351ffc7fa629899"));
}

}  // namespace voxtral_edge

CHECK_MAIN()
