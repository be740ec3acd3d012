// SPDX-License-Identifier: Apache-2.0
// Grammar and word lists of the stories; sentences draw from them exactly as the demo teacher's
// training did.
#include "core/load/story.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "core/run/error.h"

namespace flashmorph {
namespace {

using Word = std::string_view;
constexpr std::array<Word, 16> kNames = {"Clara", "Tom",    "Ada",  "Felix", "Nora", "Hugo",
                                         "Iris",  "Leo",    "Mara", "Otto",  "Rosa", "Theo",
                                         "Vera",  "Walter", "Zoe",  "Bruno"};
constexpr std::array<Word, 12> kPlaces = {
    "the old market",    "the river bridge",  "the stone tower", "the north gate",
    "the quiet harbour", "the apple orchard", "the glass house", "the long barn",
    "the empty theatre", "the hill farm",     "the paper mill",  "the night train"};
constexpr std::array<Word, 18> kItems = {
    "lantern", "kettle", "violin", "map",    "coat", "ladder",  "compass", "mirror", "barrel",
    "basket",  "clock",  "saddle", "letter", "ring", "blanket", "key",     "bottle", "drum"};
constexpr std::array<Word, 10> kColors = {"red",   "blue",  "green",  "yellow", "white",
                                          "black", "brown", "silver", "golden", "grey"};
constexpr std::array<Word, 7> kDays = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                       "Friday", "Saturday", "Sunday"};
constexpr std::array<Word, 4> kTimes = {"morning", "afternoon", "evening", "night"};
// "at last" fell apart in the list the teacher learned from; its sentences keep that.
constexpr std::array<Word, 9> kMoods = {"slowly",   "quickly",   "quietly", "gladly", "alone",
                                        "together", "carefully", "at",      "last"};
constexpr std::array<Word, 6> kWeather = {"The rain did not stop.", "The wind came from the sea.",
                                          "The sun stood high.",    "Snow lay on the roofs.",
                                          "Fog filled the valley.", "The air was warm and still."};
constexpr int kSentences = 40;

}  // namespace

std::string story(Random& random, int sentences) {
  std::map<Word, std::pair<Word, Word>> holds;  // who has which item, in which color
  std::string out;
  Word person = random.choose(kNames);
  for (int i = 0; i < sentences; ++i) {
    if (random.real() < 0.25) person = random.choose(kNames);
    const Word place = random.choose(kPlaces);
    const double kind = random.real();
    std::string sentence;
    if (holds.contains(person) && kind < 0.35) {
      const auto [color, item] = holds[person];
      Word other = person;
      while (other == person) other = random.choose(kNames);
      switch (random.uniform(3)) {
        case 0:
          sentence = fmt::format("{} still had the {} {} and showed it to {}.", person, color, item,
                                 other);
          break;
        case 1:
          sentence =
              fmt::format("At {} {} gave the {} {} to {}.", place, person, color, item, other);
          holds[other] = {color, item};
          holds.erase(person);
          person = other;
          break;
        default:
          sentence = fmt::format("{} asked {} about the {} {}.", other, person, color, item);
      }
    } else if (kind < 0.6) {
      const Word color = random.choose(kColors), item = random.choose(kItems);
      holds[person] = {color, item};
      if (random.uniform(2) == 0) {
        const Word day = random.choose(kDays), time = random.choose(kTimes);
        sentence = fmt::format("On {} {} {} bought a {} {} near {}.", day, time, person, color,
                               item, place);
      } else {
        sentence = fmt::format("{} found a {} {} behind {}.", person, color, item, place);
      }
    } else if (kind < 0.7) {
      sentence = random.choose(kWeather);
    } else {
      switch (random.uniform(3)) {
        case 0:
          sentence = fmt::format("{} walked to {} {}.", person, place, random.choose(kMoods));
          break;
        case 1:
          sentence =
              fmt::format("In the {} {} waited at {}.", random.choose(kTimes), person, place);
          break;
        default:
          sentence =
              fmt::format("{} left {} and went to {}.", person, place, random.choose(kPlaces));
      }
    }
    if (!out.empty() && out.back() != '\n') out += ' ';
    out += sentence;
    if (random.real() < 0.12) out += '\n';
  }
  return out;
}

int64_t write_stories(std::ostream& out, uint64_t seed, int64_t tokens,
                      const Tokenizer* tokenizer) {
  const Random root(seed);
  int64_t written = 0;
  for (uint64_t i = 0; written < tokens; ++i) {
    Random random = root.fork("written story", i);
    const std::string text = (i ? "\n\n" : "") + story(random, kSentences);
    out << text;
    if (!out.flush())
      throw Error("load", ErrorCode::disk_full,
                  fmt::format("writing stopped after {} tokens", written), "Is the disk full?");
    const auto count = tokenizer ? static_cast<int64_t>(tokenizer->encode(text).size())
                                 : static_cast<int64_t>(text.size() / 4);
    if (count == 0)
      throw Error("load", ErrorCode::unsupported_model,
                  "the tokenizer gives no token for an English story");
    written += count;
  }
  return written;
}

}  // namespace flashmorph
